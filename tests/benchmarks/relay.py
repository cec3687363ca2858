"""Our relay, beside a bare aio-pika publisher that sends the same messages, pipelined and confirmed."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

import aio_pika
import asyncpg

from infra.local.postgres import Postgres
from infra.local.rabbitmq import RabbitMQ
from registration.adapters.messages import published_messages
from registration.adapters.tables import SCHEMA
from shared.event_log import AggregateStore, PostgresDataKeys, PostgresEventLog, make_mapper
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.envelope import CONTENT_TYPE, TYPE_PREFIX, Message
from shared.messaging.exchanges import (
    SUBJECT_HEADER,
    declare_events,
    declare_rejected,
    declare_share,
    declare_subjects,
    follow,
    shares_of,
)
from shared.messaging.feed import to_messages
from shared.messaging.rabbitmq import publishing
from shared.messaging.relay import PIPELINE, TASK, Relay
from shared.messaging.signing import SigningKeys
from shared.platform.leases import Leases
from shared.platform.postgres import open_pool
from tests.benchmarks.guests import EVENTS_PER_GUEST, MASTER_KEYS, save_registered
from tests.benchmarks.results import Result
from tests.support.messaging import open_channel
from tests.support.servers import Databases

ROUNDS = 5
GUESTS = int(os.environ.get("BENCH_GUESTS", "5000"))  # of one round
TARGET = 0.9
KEYS = SigningKeys([b"s" * 32])
LOOK_EVERY_SECONDS = 0.01


async def measure(server: Postgres) -> Sequence[Result]:
    """Measure both in turns, each time with guests that were registered just before."""
    url, numbers = Databases(server)("bench", SCHEMA), count(0, GUESTS)
    ours, bare = list[float](), list[float]()
    with broker() as node:
        amqp_url = node.create_vhost("bench")
        await declare_queues(amqp_url)
        async with registration_log(url) as (pool, store):
            for first in [next(numbers) for _ in range(ROUNDS)]:
                await save_registered(store, first, GUESTS)
                ours.append(await _relay(pool, store, amqp_url))
                messages = await messages_of(store, first * EVENTS_PER_GUEST)
                bare.append(await publish(amqp_url, messages))
                await purge(amqp_url)
    events = GUESTS * EVENTS_PER_GUEST
    rates = events / median(ours), events / median(bare)
    return [
        Result(
            "relay", "events/s confirmed", *rates, "aio-pika, the same messages ready made", "higher", TARGET
        )
    ]


@contextmanager
def broker() -> Iterator[RabbitMQ]:
    """Start a RabbitMQ node of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-broker-") as folder:
        node = RabbitMQ(Path(folder))
        node.start()
        try:
            yield node
        finally:
            node.stop()


@asynccontextmanager
async def registration_log(url: str) -> AsyncIterator[tuple[asyncpg.Pool, AggregateStore]]:
    """Open registration's log as its worker does."""
    async with await open_pool(url, min_size=4, max_size=16) as pool, PostgresEventLog(pool) as log:
        yield pool, AggregateStore(log, make_mapper(), PostgresDataKeys(pool, MASTER_KEYS).unwrap)


async def declare_queues(amqp_url: str) -> None:
    """Declare what identity's consumer declares, so that its queues get registration's events."""
    async with open_channel(amqp_url) as channel:
        await declare_events(channel, "registration")
        await declare_rejected(channel, "identity")
        await declare_subjects(channel, "identity")
        for name in shares_of("identity"):
            await declare_share(channel, "identity", name)
        await follow(channel, source="registration", consumer="identity")


async def purge(amqp_url: str) -> None:
    """Empty identity's queues."""
    async with open_channel(amqp_url) as channel:
        for name in shares_of("identity"):
            await (await channel.get_queue(name, ensure=False)).purge()


async def messages_of(store: AggregateStore, after: int) -> list[Message]:
    """Return the messages of all events behind a position."""
    to_message, messages = published_messages(store), list[Message]()
    while events := await store.log.read(after, 1000):
        messages += [message for message in to_messages(events, to_message) if message is not None]
        after = events[-1].position
    return messages


async def publish(amqp_url: str, messages: Sequence[Message]) -> float:
    """Publish as many at once as our relay does, each confirmed. Return the seconds; making them is free."""
    ready = [(_to_amqp(message), TYPE_PREFIX + message.type) for message in messages]
    async with open_channel(amqp_url) as channel:
        exchange = await channel.get_exchange("registration.events", ensure=False)
        began = perf_counter()
        places = asyncio.Semaphore(PIPELINE)

        async def one(message: aio_pika.Message, routing_key: str) -> None:
            try:
                await exchange.publish(message, routing_key=routing_key, mandatory=True)
            finally:
                places.release()

        async with asyncio.TaskGroup() as group:
            for message, routing_key in ready:
                await places.acquire()
                group.create_task(one(message, routing_key))
        return perf_counter() - began


def _to_amqp(message: Message) -> aio_pika.Message:
    body = message.to_json()
    return aio_pika.Message(
        body,
        headers={SUBJECT_HEADER: str(message.subject), **KEYS.sign(body)},
        content_type=CONTENT_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=str(message.id),
        type=TYPE_PREFIX + message.type,
        timestamp=message.time,
    )


async def _relay(pool: asyncpg.Pool, store: AggregateStore, amqp_url: str) -> float:
    """Let the relay publish what is behind its checkpoint. Return the seconds from its first event."""
    async with Leases(pool) as leases:
        begins, ends = await leases.checkpoint(TASK), await store.log.position()
        relay = Relay(
            store.log,
            published_messages(store),
            partial(publishing, amqp_url, "registration", KEYS),
            leases,
            BrokerFaults(pool),
        )
        began, running = perf_counter(), asyncio.create_task(relay.run())
        try:
            while await leases.checkpoint(TASK) < ends:
                if running.done():
                    raise RuntimeError("the relay ended") from running.exception()
                await asyncio.sleep(LOOK_EVERY_SECONDS)
            seconds = perf_counter() - began
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    if ends - begins != GUESTS * EVENTS_PER_GUEST:
        raise AssertionError(f"{ends - begins} events were relayed")
    return seconds
