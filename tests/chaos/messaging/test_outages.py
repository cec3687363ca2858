"""Processes killed and stopped, the broker gone and back: nothing is lost, and each effect is there once."""

import asyncio
import signal
from collections import Counter
from uuid import UUID, uuid4

import asyncpg

from infra.local.rabbitmq import RabbitMQ
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.envelope import Message
from shared.messaging.rabbitmq import Consumer
from shared.messaging.relay import PIPELINE, TASK
from shared.platform.leases import Leases
from shared.platform.postgres import open_pool
from tests.chaos.messaging.conftest import StartRelay
from tests.support.eventually import eventually
from tests.support.messaging import KEYS, Receiver, Sender, running

TYPES = ("registered", "expired", "reregistered", "confirmed", "suspended")


class Watching(Consumer):
    """A consumer that counts how often each message came."""

    def __init__(self, receiver: Receiver, amqp_url: str) -> None:
        super().__init__(
            amqp_url,
            receiver.inbox,
            source="registration",
            consumer="identity",
            keys=KEYS,
            faults=BrokerFaults(receiver.pool),
        )
        self.came: Counter[UUID] = Counter()

    async def _receive(self, body: bytes) -> None:
        self.came[Message.from_json(body).id] += 1
        await super()._receive(body)


async def happen(sender: Sender, guests: list[UUID]) -> None:
    """Five things happen to each of these guests, a few guests at a time."""
    for start in range(0, len(guests), 50):
        await asyncio.gather(*(sender.happens(guest, *TYPES) for guest in guests[start : start + 50]))


async def test_a_relay_killed_in_its_pipeline_loses_nothing(
    sender: Sender, receiver: Receiver, senders_database: str, amqp_url: str, start_relay: StartRelay
) -> None:
    guests = [uuid4() for _ in range(400)]
    consumer = Watching(receiver, amqp_url)
    async with running(consumer.run()), await open_pool(senders_database, min_size=1, max_size=1) as pool:
        relay = start_relay()
        happening = asyncio.create_task(happen(sender, guests))
        for share in (1, 3):
            await eventually(lambda: len(consumer.came) > share * PIPELINE, within=30, every=0.001)  # noqa: B023
            relay.kill()
            relay = start_relay()
        await happening
        await eventually(lambda: receiver.all_processed(guests, len(TYPES)), within=40)
        await eventually(lambda: _checkpoint_is(pool, len(guests) * len(TYPES)))
    assert len(consumer.came) == len(guests) * len(TYPES)
    assert sum(consumer.came.values()) < len(consumer.came) + 3 * PIPELINE


async def test_a_leader_stopped_beyond_its_lease_cannot_write_back(
    sender: Sender, receiver: Receiver, senders_database: str, amqp_url: str, start_relay: StartRelay
) -> None:
    guests = [uuid4() for _ in range(300)]
    consumer = Watching(receiver, amqp_url)
    async with running(consumer.run()), await open_pool(senders_database, min_size=1, max_size=1) as pool:
        first = start_relay()
        happening = asyncio.create_task(happen(sender, guests))
        await eventually(lambda: consumer.came, within=30, every=0.001)
        first.send_signal(signal.SIGSTOP)
        start_relay()
        await happening
        await eventually(lambda: receiver.all_processed(guests, len(TYPES)), within=40)
        await eventually(lambda: _checkpoint_is(pool, len(guests) * len(TYPES)))
        assert await pool.fetchval("SELECT epoch FROM leases WHERE name = $1", TASK) >= 2
        first.send_signal(signal.SIGCONT)
        await sender.happens(guests[0], "more")
        await eventually(lambda: receiver.all_processed(guests[:1], 6))
        await eventually(lambda: _checkpoint_is(pool, len(guests) * len(TYPES) + 1))
        for _ in range(20):  # the relay that was suspended must not move it back, now or a little later
            await asyncio.sleep(0.05)
            assert await _checkpoint_is(pool, len(guests) * len(TYPES) + 1)
    assert await receiver.all_processed(guests[1:], 5)


async def test_a_broker_restarted_in_mid_flow_loses_nothing(
    sender: Sender, receiver: Receiver, amqp_url: str, rabbitmq: RabbitMQ, start_relay: StartRelay
) -> None:
    guests = [uuid4() for _ in range(200)]
    consumer = Watching(receiver, amqp_url)
    start_relay()
    async with running(consumer.run()):
        happening = asyncio.create_task(happen(sender, guests))
        await eventually(lambda: consumer.came, within=30, every=0.001)
        await asyncio.to_thread(rabbitmq.stop)
        await happening
        rabbitmq.spawn()  # in this thread: the kernel ends the node with the thread that started it
        await eventually(rabbitmq.is_ready, within=30)
        await eventually(lambda: receiver.all_processed(guests, len(TYPES)), within=40)
        await sender.happens(guests[0], "more")
        await eventually(lambda: receiver.all_processed(guests[:1], 6), within=20)
    assert await receiver.inbox.parked.overview() == []


async def test_the_consumers_database_away_for_a_while_loses_nothing(
    sender: Sender, receiver: Receiver, amqp_url: str, start_relay: StartRelay
) -> None:
    """No guest can be parked then either: messages stay unacknowledged, and in order."""
    guests = [uuid4() for _ in range(60)]
    consumer = Watching(receiver, amqp_url)
    start_relay()
    async with running(consumer.run(), receiver.inbox.keep_retrying()):
        happening = asyncio.create_task(happen(sender, guests))
        await eventually(lambda: consumer.came, within=30)
        for _ in range(5):
            await receiver.pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
            )
            calls = receiver.calls
            await eventually(lambda: _goes_on(receiver, guests, calls), within=30)  # noqa: B023
        await happening
        await eventually(lambda: receiver.all_processed(guests, len(TYPES)), within=40)
    await eventually(lambda: _nobody_is_parked(receiver))


async def _goes_on(receiver: Receiver, guests: list[UUID], calls: int) -> bool:
    """Whether a message came to the receiver since then, or all of them had come before."""
    return receiver.calls > calls or await receiver.all_processed(guests, len(TYPES))


async def _checkpoint_is(pool: asyncpg.Pool, position: int) -> bool:
    return await Leases(pool).checkpoint(TASK) == position


async def _nobody_is_parked(receiver: Receiver) -> bool:
    await receiver.inbox.retry_waiting()
    return not await receiver.inbox.parked.overview()
