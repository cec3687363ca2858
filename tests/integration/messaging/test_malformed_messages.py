"""Whatever somebody publishes, well signed or not: every message is acknowledged and no other guest waits."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import aio_pika
import orjson

from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.exchanges import declare_events, declare_rejected
from shared.messaging.inbox import unreadable_messages
from shared.messaging.rabbitmq import Consumer, publishing
from tests.support.eventually import eventually
from tests.support.messaging import KEYS, Receiver, Sender, declare_queues, open_channel, running

NASTY: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63 - 1, 2**63, 0.5),
    *("", "\0", "a\0b", "x" * 70_000, "\u202e", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *([], {}, [{}], {"\0": "\0"}, {"a": [{"b": ["\0"]}]}),
)
FOREIGN_SOURCES = sum(isinstance(value, str) and value != "" and "\0" not in value for value in NASTY)
HEADERS: tuple[dict[str, Any], ...] = (
    {},
    {"guest-id": None},
    {"guest-id": {"a": [1]}, "signature": {"b": 2}},
    {"signature": bytearray(b"\xff\xfe"), "signing-key": bytearray(b"\xff")},
    {"signature": 7, "signing-key": [1, 2]},
    {"signature": "é" * 5000, "signing-key": "é"},
    {"signature": None, "signing-key": None},
)


def with_nasty_values(body: bytes) -> Iterator[bytes]:
    """The message with each attribute replaced by each nasty value, and left out."""
    genuine = orjson.loads(body)
    for name in genuine:
        yield orjson.dumps({key: value for key, value in genuine.items() if key != name})
        for value in NASTY:
            yield orjson.dumps({**genuine, name: value})
    yield from (b"", b"\0", b"[" * 100_000, b"{}" * 1000, body[:-1], body + b"x", b"\xff" * 500, b"1e999")


async def test_malformed_messages_hold_nobody_up(sender: Sender, receiver: Receiver, amqp_url: str) -> None:
    template, bystander = uuid4(), uuid4()
    (message,) = await sender.happens(template, "registered")
    consumer = Consumer(
        amqp_url,
        receiver.inbox,
        source="registration",
        consumer="identity",
        keys=KEYS,
        faults=BrokerFaults(receiver.pool),
    )
    async with open_channel(amqp_url) as channel:
        exchange = await declare_events(channel, "registration")
        await declare_rejected(channel, "identity")
        await declare_queues(channel, source="registration", consumer="identity")
        for body in with_nasty_values(message.to_json()):
            signed: dict[str, Any] = {"guest-id": str(uuid4()), **KEYS.sign(body)}
            await exchange.publish(aio_pika.Message(body, headers=signed), "a.type")
        for headers in HEADERS:
            await exchange.publish(aio_pika.Message(message.to_json(), headers=headers), "")
    async with publishing(amqp_url, "registration", KEYS) as publisher:
        for genuine in await sender.happens(bystander, "registered"):
            await publisher.publish(genuine)
    async with running(consumer.run()):
        await eventually(lambda: receiver.all_processed([bystander], 1), within=30)
        await eventually(partial(nothing_is_left, amqp_url), within=30)
        await eventually(lambda: not consumer._in_process, within=30)  # the last ones are acknowledged
    assert await nothing_is_left(amqp_url), "what was not acknowledged is back in its queue"
    assert await unreadable_messages(receiver.pool)
    assert len(await receiver.effects(template)) <= 1


async def nothing_is_left(amqp_url: str) -> bool:
    """Whether no queue of guests holds a message, and all that are not authentic are with the rejected."""
    async with open_channel(amqp_url) as channel:
        await declare_events(channel, "registration")
        queues = await declare_queues(channel, source="registration", consumer="identity")
        waiting = sum(queue.declaration_result.message_count or 0 for queue in queues)
        rejected = await channel.declare_queue("identity.rejected", passive=True)
        return waiting == 0 and rejected.declaration_result.message_count == len(HEADERS) + FOREIGN_SOURCES
