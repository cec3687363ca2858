"""The publisher counts its messages as the broker does, so that each gets the confirm that is its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import pytest
from aiormq.channel import Returning

from shared.event_log import InMemoryEventLog
from shared.messaging.errors import BrokerUnavailable
from shared.messaging.rabbitmq import RabbitPublisher
from tests.support.messaging import KEYS, Sender

if TYPE_CHECKING:
    import aiormq
    from aio_pika.abc import AbstractConnection
    from aiormq.abc import ChannelFrame

    from shared.messaging.envelope import Message

NO_CONNECTION = cast("AbstractConnection", None)


class Channel:
    """A channel whose socket takes one frame, and then none until it is read."""

    number, max_content_size, is_closed = 1, 100_000, False

    def __init__(self) -> None:
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.write_queue: asyncio.Queue[ChannelFrame] = asyncio.Queue(maxsize=1)
        self.delivery_tag = 0
        self.confirmations: dict[int, asyncio.Future[object]] = {}
        self.message_id_delivery_tag: dict[str, int] = {}

    async def written(self) -> bytes:
        """What reaches the broker until nothing more comes."""
        payload = b""
        while True:
            try:
                async with asyncio.timeout(0.05):
                    payload += (await self.write_queue.get()).payload
            except TimeoutError:
                return payload


@pytest.fixture
async def channel() -> Channel:
    return Channel()


@pytest.fixture
def publisher(channel: Channel) -> RabbitPublisher:
    return RabbitPublisher(NO_CONNECTION, "registration", cast("aiormq.Channel", channel), KEYS)


async def _messages(count: int) -> list[Message]:
    sender = Sender(InMemoryEventLog())
    return [(await sender.happens(uuid4(), "registered"))[0] for _ in range(count)]


async def test_a_publish_that_is_given_up_while_nothing_can_be_sent_shifts_no_confirm(
    channel: Channel, publisher: RabbitPublisher
) -> None:
    messages, publishing = await _messages(6), list[asyncio.Task[None]]()
    for message in messages:
        publishing.append(asyncio.create_task(publisher.publish(message)))
        await asyncio.sleep(0.001)
    publishing[1].cancel()  # it holds what waits for the socket
    payload = await channel.written()
    places = [payload.index(message.to_json()) for message in messages]
    assert places == sorted(places)
    for tag in (6, 5, 4, 3, 2, 1):
        channel.confirmations[tag].set_result(None)
        await asyncio.sleep(0.001)
        assert publishing[tag - 1].done()
    assert not channel.message_id_delivery_tag


async def test_messages_of_one_moment_are_one_write(channel: Channel, publisher: RabbitPublisher) -> None:
    publishing = [asyncio.create_task(publisher.publish(message)) for message in await _messages(50)]
    async with asyncio.timeout(5):
        payload = (await channel.write_queue.get()).payload
    assert payload.count(b"streamversion") == 50
    assert channel.write_queue.empty()
    for confirmed in channel.confirmations.values():
        confirmed.set_result(None)
    await asyncio.gather(*publishing)


async def test_a_channel_that_ends_confirms_nothing_more(
    channel: Channel, publisher: RabbitPublisher
) -> None:
    [message, returned] = await _messages(2)
    publishing = asyncio.create_task(publisher.publish(message))
    await channel.write_queue.get()
    channel.confirmations[2] = Returning()  # what the library leaves of a message that came back
    channel.closing.set_result(None)
    with pytest.raises(BrokerUnavailable):
        await publishing
    assert not channel.confirmations[2].done()
    channel.is_closed = True
    with pytest.raises(BrokerUnavailable):
        await publisher.publish(returned)
