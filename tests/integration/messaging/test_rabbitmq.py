"""From one service's log to the other's inbox over a real RabbitMQ (ADR 0002, ADR 0013)."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID, uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from shared.event_log import SCHEMA as EVENT_LOG
from shared.event_log import PostgresEventLog
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.envelope import Message
from shared.messaging.errors import BrokerUnavailable, Unroutable
from shared.messaging.exchanges import declare_events
from shared.messaging.feed_poller import FeedPoller
from shared.messaging.inbox import MOST_ATTEMPTS, unreadable_messages
from shared.messaging.parked import State
from shared.messaging.rabbitmq import Consumer, publishing
from shared.messaging.relay import TASK, Relay
from shared.platform import limits
from shared.platform.leases import Leases
from shared.platform.postgres import open_pool
from tests.support.eventually import eventually
from tests.support.messaging import (
    KEYS,
    SECRET_TOPIC,
    Receiver,
    Sender,
    declare_queues,
    open_channel,
    running,
    to_message,
)
from tests.support.servers import Databases, execute_as_owner
from tests.support.silence import shorten, silencing


def relay_of(sender: Sender, receiver: Receiver, amqp_url: str) -> Relay:
    """The sender's relay; its leases lie in the receiver's database, for want of one of its own."""
    connect = partial(publishing, amqp_url, "registration", KEYS)
    return Relay(sender.log, to_message, connect, Leases(receiver.pool), BrokerFaults(receiver.pool))


def consumer_of(receiver: Receiver, amqp_url: str) -> Consumer:
    """Identity's consumer of registration's events."""
    faults = BrokerFaults(receiver.pool)
    return Consumer(
        amqp_url, receiver.inbox, source="registration", consumer="identity", keys=KEYS, faults=faults
    )


@asynccontextmanager
async def the_pair(sender: Sender, receiver: Receiver, amqp_url: str) -> AsyncIterator[None]:
    """Relay and consumer, at work."""
    relay, consumer = relay_of(sender, receiver, amqp_url), consumer_of(receiver, amqp_url)
    async with running(relay.run(), consumer.run(), receiver.inbox.keep_retrying()):
        yield


async def test_what_happens_here_has_its_effect_there(
    sender: Sender, receiver: Receiver, amqp_url: str
) -> None:
    guests = [uuid4() for _ in range(50)]
    for guest in guests:
        await sender.happens(guest, "registered")
        await sender.happens(uuid4(), SECRET_TOPIC)
    async with the_pair(sender, receiver, amqp_url):
        for guest in guests[:10]:
            await sender.happens(guest, "expired")
        await eventually(lambda: receiver.all_processed(guests[10:], 1))
        await eventually(lambda: receiver.all_processed(guests[:10], 2))
        await eventually(lambda: _checkpoint_is(receiver, 110))


async def test_a_guest_is_in_one_queue_and_in_order_there(amqp_url: str, sender: Sender) -> None:
    guests = [uuid4() for _ in range(80)]
    types = ("registered", "expired", "reregistered")
    found: dict[UUID, set[int]] = defaultdict(set)
    versions: dict[UUID, list[int]] = defaultdict(list)
    async with open_channel(amqp_url) as channel, publishing(amqp_url, "registration", KEYS) as publisher:
        queues = await declare_queues(channel, source="registration", consumer="identity")
        messages = [message for guest in guests for message in await sender.happens(guest, *types)]
        await asyncio.gather(*(publisher.publish(message) for message in messages))
        for number, queue in enumerate(queues):
            for delivery in await _delivered(queue):
                message = Message.from_json(delivery.body)
                found[message.subject].add(number)
                versions[message.subject].append(message.stream_version)
    assert all(len(where) == 1 for where in found.values())
    assert set.union(*found.values()) == {0, 1, 2, 3}
    assert dict(versions) == {guest: [1, 2, 3] for guest in guests}


async def test_the_topology_is_as_described_and_declaring_it_twice_changes_nothing(amqp_url: str) -> None:
    for _ in range(2):
        async with open_channel(amqp_url) as channel:
            await declare_events(channel, "registration")
            queues = await declare_queues(channel, source="registration", consumer="identity", queues=3)
            assert [queue.name for queue in queues] == [f"identity.guests.{number}" for number in range(3)]
    with pytest.raises(BrokerUnavailable, match="PRECONDITION_FAILED"):
        async with open_channel(amqp_url) as channel:
            await channel.declare_queue("identity.guests.0", durable=True)


async def test_messages_are_persistent_and_carry_their_type_as_routing_key(
    amqp_url: str, sender: Sender
) -> None:
    (message,) = await sender.happens(uuid4(), "registered")
    async with open_channel(amqp_url) as channel, publishing(amqp_url, "registration", KEYS) as publisher:
        queues = await declare_queues(channel, source="registration", consumer="identity", queues=1)
        await publisher.publish(message)
        (delivery,) = await eventually(partial(_delivered, queues[0]))
    assert Message.from_json(delivery.body) == message
    assert delivery.routing_key == "nl.landelijklenen.registered"
    assert delivery.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert delivery.message_id == str(message.id)
    assert delivery.headers == {"guest-id": str(message.subject), **KEYS.sign(message.to_json())}


async def test_what_no_queue_takes_is_not_confirmed(amqp_url: str, sender: Sender) -> None:
    (message,) = await sender.happens(uuid4(), "registered")
    async with publishing(amqp_url, "registration", KEYS) as publisher:
        with pytest.raises(Unroutable):
            await publisher.publish(message)


async def test_the_relay_waits_for_a_queue_and_publishes_then(
    sender: Sender, receiver: Receiver, amqp_url: str
) -> None:
    guest = uuid4()
    await sender.happens(guest, "registered", "expired")
    relay = relay_of(sender, receiver, amqp_url)
    async with running(relay.run()):
        async with open_channel(amqp_url) as channel:
            await declare_events(channel, "registration")
        await asyncio.sleep(0.5)
        assert await Leases(receiver.pool).checkpoint(TASK) == 0
        async with running(consumer_of(receiver, amqp_url).run()):
            await eventually(lambda: receiver.all_processed([guest], 2))
            await eventually(lambda: _checkpoint_is(receiver, 2))


async def test_no_broker_is_waited_for() -> None:
    with pytest.raises(BrokerUnavailable):
        async with publishing("amqp://127.0.0.1:1/", "registration", KEYS):
            pass


async def test_what_cannot_be_handled_delays_no_other_guest(
    sender: Sender, receiver: Receiver, amqp_url: str
) -> None:
    guests = [uuid4() for _ in range(20)]
    receiver.refuses["bad"] = ValueError("cannot be")
    for guest in guests:
        await sender.happens(guest, "registered", *(["bad"] if guest in guests[::4] else []), "expired")
    async with the_pair(sender, receiver, amqp_url):
        well = [guest for guest in guests if guest not in guests[::4]]
        await eventually(lambda: receiver.all_processed(well, 2))
        await eventually(lambda: _are_parked(receiver, 5))
        await eventually(lambda: _queues_are_empty(amqp_url))
        receiver.refuses.clear()
        for guest in guests[::4]:
            assert await receiver.inbox.retry_parked(guest)
    for guest in guests[::4]:
        assert await receiver.effects(guest) == [1, 2, 3]


async def test_what_is_no_message_is_kept_and_delays_no_guest(
    sender: Sender, receiver: Receiver, amqp_url: str
) -> None:
    guest = uuid4()
    async with running(consumer_of(receiver, amqp_url).run()):
        await eventually(lambda: _queues_are_empty(amqp_url))
        async with open_channel(amqp_url) as channel:
            exchange = await declare_events(channel, "registration")
            body = b"{nonsense"
            unreadable = aio_pika.Message(body, headers={"guest-id": "1", **KEYS.sign(body)})
            await exchange.publish(unreadable, "a.type")
        async with publishing(amqp_url, "registration", KEYS) as publisher:
            for message in await sender.happens(guest, "registered"):
                await publisher.publish(message)
        await eventually(lambda: receiver.all_processed([guest], 1))
        (kept,) = await eventually(lambda: unreadable_messages(receiver.pool))
    assert (kept.body, kept.reason) == (b"{nonsense", "not JSON")


async def test_two_workers_share_one_queue_without_harm(
    sender: Sender, receiver: Receiver, amqp_url: str
) -> None:
    """Single active consumer: one has the queue; when it stops, the other goes on where it was."""
    guests = [uuid4() for _ in range(40)]
    other = consumer_of(receiver.another_process(), amqp_url)
    async with running(other.run()), running(relay_of(sender, receiver, amqp_url).run()):
        async with running(consumer_of(receiver, amqp_url).run()):
            for guest in guests:
                await sender.happens(guest, "registered")
            await eventually(lambda: receiver.all_processed(guests, 1))
            for guest in guests:
                await sender.happens(guest, "expired", "reregistered")
        await eventually(lambda: receiver.all_processed(guests, 3))


async def _delivered(queue: AbstractQueue) -> list[AbstractIncomingMessage]:
    """All that is in a queue now, in the order of delivery."""
    delivered: list[AbstractIncomingMessage] = []
    count = (await queue.declare()).message_count or 0

    async def take(delivery: AbstractIncomingMessage) -> None:
        delivered.append(delivery)

    tag = await queue.consume(take, no_ack=False)
    await eventually(lambda: len(delivered) >= count)
    await queue.cancel(tag)
    return delivered


async def _checkpoint_is(receiver: Receiver, position: int) -> bool:
    return await Leases(receiver.pool).checkpoint(TASK) == position


async def test_a_broker_that_says_nothing_is_left_and_all_goes_on_when_it_is_back(
    receiver: Receiver, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relay and consumer both: the heartbeat ends the connections, and a stop is not held up by them."""
    shorten(monkeypatch)
    monkeypatch.setattr("aiormq.connection.Connection.HEARTBEAT_GRACE_MULTIPLIER", 1)
    guests = [uuid4(), uuid4()]
    async with silencing(amqp_url) as (proxy, through):
        async with the_pair(receiver.sender, receiver, through):
            await receiver.sender.happens(guests[0], "registered")
            await eventually(lambda: receiver.all_processed(guests[:1], 1))
            with proxy.silent():
                await receiver.sender.happens(guests[1], "registered")
                await asyncio.sleep(2 * limits.BROKER_ANSWER)
            await eventually(lambda: receiver.all_processed(guests, 1), within=15)
            proxy.silence()
            began = time.monotonic()
        assert time.monotonic() - began < 3.0


async def _are_parked(receiver: Receiver, count: int) -> bool:
    return len(await receiver.inbox.parked.overview()) == count


async def _queues_are_empty(amqp_url: str) -> bool:
    async with open_channel(amqp_url) as channel:
        await declare_events(channel, "registration")
        queues = await declare_queues(channel, source="registration", consumer="identity")
        return sum(queue.declaration_result.message_count or 0 for queue in queues) == 0


async def test_i8_an_event_that_the_sender_cannot_read_holds_up_its_guest_only(
    databases: Databases, receiver: Receiver, amqp_url: str
) -> None:
    """Neither relay nor feed stop at it; once the sender can read it, its guest goes on by itself."""
    database, poisoned, others = databases(scripts=EVENT_LOG), uuid4(), [uuid4() for _ in range(10)]
    async with await open_pool(database, min_size=4, max_size=8) as pool, PostgresEventLog(pool) as log:
        receiver.sender.log, sender = log, receiver.sender
        await sender.happens(poisoned, "registered", "expired", "reregistered")
        spoil = "UPDATE stored_events SET state = $1 WHERE originator_id = $2 AND originator_version = 2"
        await execute_as_owner(pool, spoil, b"\xff", poisoned)
        for guest in others:
            await sender.happens(guest, "registered")
        poller = FeedPoller(sender, receiver.inbox, Leases(receiver.pool), interval=0.1, wait=0)
        async with the_pair(sender, receiver, amqp_url), running(poller.run()):
            await eventually(lambda: receiver.all_processed(others, 1))
            (parked,) = await eventually(receiver.inbox.parked.overview)
            assert (parked.subject, parked.state) == (poisoned, State.WAITING)
            assert parked.reason == "NotReadableYet: version 2, expired"
            assert await receiver.effects(poisoned) == [1]
            await execute_as_owner(pool, spoil, b"{}", poisoned)
            await eventually(lambda: receiver.all_processed([poisoned], 3), within=20)


async def test_i8_what_fails_again_and_again_is_parked_and_delays_no_other_guest(
    sender: Sender, receiver: Receiver, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, well = uuid4(), uuid4()
    receive = receiver.inbox.receive
    attempts = 0

    async def fails_for_one(message: Message) -> None:
        nonlocal attempts
        if message.subject == poisoned:
            attempts += 1
            raise OverflowError("value out of int64 range")
        await receive(message)

    monkeypatch.setattr(receiver.inbox, "receive", fails_for_one)
    async with the_pair(sender, receiver, amqp_url):
        await sender.happens(poisoned, "registered")
        await sender.happens(well, "registered")
        await eventually(lambda: receiver.all_processed([well], 1))
        (kept,) = await eventually(receiver.inbox.parked.overview)
        await eventually(lambda: _queues_are_empty(amqp_url))
    assert (kept.subject, kept.state, kept.messages) == (poisoned, State.PARKED, 1)
    assert (kept.reason, attempts) == ("OverflowError: value out of int64 range", MOST_ATTEMPTS)
    assert await unreadable_messages(receiver.pool) == []
