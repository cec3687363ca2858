"""What goes wrong at a real broker is repaired within seconds, or reported with what to look at."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from aio_pika.abc import AbstractChannel
from prometheus_client import generate_latest
from pydantic import SecretStr

from infra.local.rabbitmq import RabbitMQ
from shared.cli.doctor import broker, examine
from shared.messaging import rabbitmq as transport
from shared.messaging.broker_connection import open_connection
from shared.messaging.broker_faults import (
    BLOCKED,
    CONSUMING,
    PUBLISHING,
    BrokerFaults,
    BrokerFaulty,
    Fault,
    faults_of,
)
from shared.messaging.errors import BrokerUnavailable
from shared.messaging.exchanges import QUEUE_ARGUMENTS, differences
from shared.messaging.metrics import WITH_BROKER
from shared.messaging.queues import relay_lag, update_queue_metrics
from shared.messaging.rabbitmq import Consumer, publishing
from shared.messaging.relay import Relay
from shared.platform import limits
from shared.platform.leases import Leases
from shared.platform.logging import configure_logging
from shared.platform.settings import ServiceSettings
from tests.support.eventually import eventually
from tests.support.messaging import KEYS, Receiver, Sender, open_channel, running, to_message

Arguments = dict[str, Any]
OWN_QUEUES = [f"identity.guests.{number}" for number in range(4)]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LOOK_EVERY_SECONDS", 0.5)


@asynccontextmanager
async def at_work(
    receiver: Receiver, amqp_url: str, consumers_url: str | None = None
) -> AsyncIterator[BrokerFaults]:
    """Registration's relay, which reads the receiver's own log here, and identity's consumer."""
    faults = BrokerFaults(receiver.pool)
    consumer = Consumer(
        consumers_url or amqp_url,
        receiver.inbox,
        source="registration",
        consumer="identity",
        keys=KEYS,
        faults=faults,
    )
    relay = Relay(
        receiver.sender.log,
        to_message,
        partial(publishing, amqp_url, "registration", KEYS),
        Leases(receiver.pool),
        faults,
    )
    async with running(relay.run(), consumer.run(), faults.keep_storing()):
        yield faults


async def works(sender: Sender, receiver: Receiver, guests: int = 20) -> None:
    """So many guests that each queue gets some; all come over the broker."""
    known = [uuid4() for _ in range(guests)]
    for guest in known:
        await sender.happens(guest, "registered")
    await eventually(lambda: receiver.all_processed(known, 1), within=20)


async def delete_all_queues(channel: AbstractChannel) -> None:
    for name in OWN_QUEUES:
        await channel.queue_delete(name)


async def delete_one_queue(channel: AbstractChannel) -> None:
    await channel.queue_delete(OWN_QUEUES[1])


async def delete_own_exchange(channel: AbstractChannel) -> None:
    await channel.exchange_delete("identity.guests")


async def delete_exchange_of_the_other(channel: AbstractChannel) -> None:
    await channel.exchange_delete("registration.events")


async def unbind_queues(channel: AbstractChannel) -> None:
    for name in OWN_QUEUES:
        queue = await channel.get_queue(name)
        await queue.unbind("identity.guests", routing_key="1")


async def unbind_exchange(channel: AbstractChannel) -> None:
    exchange = await channel.get_exchange("identity.guests")
    await exchange.unbind("registration.events", routing_key="#")


@pytest.mark.parametrize(
    "damage",
    [
        delete_all_queues,
        delete_one_queue,
        delete_own_exchange,
        delete_exchange_of_the_other,
        unbind_queues,
        unbind_exchange,
    ],
)
async def test_what_is_deleted_at_the_broker_is_declared_bound_and_consumed_again(
    sender: Sender, receiver: Receiver, amqp_url: str, damage: Callable[[AbstractChannel], Awaitable[None]]
) -> None:
    async with at_work(receiver, amqp_url) as faults:
        await works(sender, receiver)
        async with open_channel(amqp_url) as channel:
            await damage(channel)
        await eventually(partial(all_are_consumed, amqp_url), within=15)
        await works(sender, receiver)
        await eventually(partial(nothing_is_found, receiver))
        await faults.require_none()


async def test_a_channel_that_hears_too_late_that_its_queue_is_gone_is_left_at_once(
    sender: Sender, receiver: Receiver, rabbitmq: RabbitMQ, amqp_url: str
) -> None:
    """When another queue ends, the worker declares all: the old channel must not have the new queue."""
    async with at_work(receiver, amqp_url) as faults:
        await works(sender, receiver)
        name, other, vhost = "identity.guests.0", "identity.guests.1", amqp_url.rpartition("/")[2]
        rabbitmq.evaluate(
            f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{name}">>)),'
            " Channels = [element(1, Consumer) || Consumer <- rabbit_amqqueue:consumers(Q)],"
            " spawn(fun() -> [erlang:suspend_process(C) || C <- Channels], timer:sleep(1500) end),"
            " timer:sleep(100)"
        )
        async with open_channel(amqp_url) as channel:
            await channel.queue_delete(name)
            await channel.queue_delete(other)
        await eventually(partial(all_are_consumed, amqp_url), within=15)
        await works(sender, receiver)
        await faults.require_none()


async def all_are_consumed(amqp_url: str) -> bool:
    """Whether each queue is there and has its consumer."""
    for name in OWN_QUEUES:
        try:
            async with open_channel(amqp_url) as channel:
                queue = await channel.declare_queue(name, passive=True)
        except BrokerUnavailable:
            return False
        if not queue.declaration_result.consumer_count:
            return False
    return True


async def nothing_is_found(receiver: Receiver) -> bool:
    return await faults_of(receiver.pool) == []


async def found_by(receiver: Receiver, name: str) -> Fault | None:
    """What a worker stored under this name, as any other process reads it."""
    return next((fault for fault in await faults_of(receiver.pool) if fault.name == name), None)


@pytest.mark.parametrize(
    "changed", [{"x-queue-type": "classic", "x-delivery-limit": None}, {"x-delivery-limit": 7}]
)
async def test_a_queue_that_was_declared_otherwise_is_named_and_the_others_are_consumed(
    receiver: Receiver,
    database: str,
    amqp_url: str,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, Any],
) -> None:
    sender, other, argument = receiver.sender, OWN_QUEUES[2], next(iter(changed))
    wanted: dict[str, Any] = {**(QUEUE_ARGUMENTS or {})}
    arguments = {name: value for name, value in (wanted | changed).items() if value is not None}
    async with open_channel(amqp_url) as channel:
        await channel.declare_queue(other, durable=True, arguments=arguments)
    configure_logging("identity")
    async with at_work(receiver, amqp_url) as faults:
        fault = await eventually(partial(found_by, receiver, other))
        assert fault
        assert f"inequivalent arg '{argument}' for queue '{other}'" in fault.reason
        assert f"'{wanted[argument]}'" in fault.reason
        assert f"'{changed[argument]}'" in fault.reason
        await works(sender, receiver)
        with pytest.raises(BrokerFaulty, match=other):
            await faults.require_none()
        await update_queue_metrics(receiver.pool)
        shown = generate_latest(WITH_BROKER).decode()
        assert f'broker_fault_since_timestamp_seconds{{fault="{other}"}} ' in shown
        async with open_connection(amqp_url) as connection:
            missing, [difference] = await differences(connection, "identity")
        assert missing == ["exchange identity.events"], "identity's relay does not run here"
        assert (await doctors_words(database, amqp_url))["queues"] == (False, f"LookupError: {difference}")
        assert f"inequivalent arg '{argument}' for queue '{other}'" in difference
        async with open_channel(amqp_url) as channel:  # the operator deletes it
            await channel.queue_delete(other)
        await eventually(partial(nothing_is_found, receiver))
        await works(sender, receiver)
    actions = ('"broker.fault"', '"broker.fault_ended"')
    logged = [line for line in capsys.readouterr().err.splitlines() if other in line]
    assert [[action in line for line in logged].count(True) for action in actions] == [1, 1], logged


async def test_comparing_changes_nothing_at_the_broker(amqp_url: str) -> None:
    async with open_connection(amqp_url) as connection:
        exchanges = ["identity.events", "identity.guests", "identity.rejected"]
        all_of_them = [f"exchange {name}" for name in exchanges]
        all_of_them += [f"queue {name}" for name in [*OWN_QUEUES, "identity.rejected"]]
        for _ in range(2):
            assert await differences(connection, "identity") == (all_of_them, [])


@contextmanager
def blocked(rabbitmq: RabbitMQ) -> Iterator[None]:
    """The node's alarm: no memory is left."""
    rabbitmq.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.0)")
    try:
        yield
    finally:
        rabbitmq.evaluate("vm_memory_monitor:set_vm_memory_high_watermark(0.4)")


async def test_a_broker_that_takes_nothing_is_reported_with_since_when_and_how_far_the_relay_is_behind(
    receiver: Receiver, database: str, amqp_url: str, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BROKER_ANSWER", 1.0)  # several connections while it is blocked
    receiver.sender.log = receiver.log
    begun = datetime.now(UTC) - timedelta(seconds=1)
    async with at_work(receiver, amqp_url) as faults:
        await eventually(partial(all_are_consumed, amqp_url))
        with blocked(rabbitmq):
            await receiver.sender.happens(uuid4(), "registered")
            first = await eventually(partial(found_by, receiver, BLOCKED))
            assert first
            assert first.since > begun
            assert "memory" in first.reason
            assert await relay_lag(receiver.pool) == 1
            await eventually(partial(found_by, receiver, PUBLISHING), within=5)
            await update_queue_metrics(receiver.pool)
            shown = generate_latest(WITH_BROKER).decode()
            assert "relay_lag_events 1.0" in shown
            assert re.search(r'broker_fault_since_timestamp_seconds\{fault="blocked"\} 1\.\d+e\+09', shown)
            await asyncio.sleep(1.5)
            assert await found_by(receiver, BLOCKED) == first, "it is the same fault on the next connection"
            with pytest.raises(BrokerFaulty, match="takes no messages"):
                await faults.require_none()
            ok, said = (await doctors_words(database, amqp_url))["messages"]
            assert not ok
            assert f"blocked since {first.since:%Y-%m-%d %H:%M:%S}" in said
            assert "the relay is 1 events behind" in said
        await eventually(partial(nothing_is_found, receiver))
        await eventually(partial(no_lag, receiver))
        healthy = await doctors_words(database, amqp_url)
        assert [ok for ok, _ in healthy.values()] == [True, True, True], healthy
        assert healthy["messages"][1].endswith("the relay is 0 events behind")


@contextmanager
def disk_alarm(rabbitmq: RabbitMQ) -> Iterator[None]:
    """The node's alarm, as its monitor sets it when less is free on the disk than it should be."""
    rabbitmq.evaluate("rabbit_alarm:set_alarm({{resource_limit, disk, node()}, []})")
    try:
        yield
    finally:
        rabbitmq.evaluate("rabbit_alarm:clear_alarm({resource_limit, disk, node()})")


async def test_messages_go_on_within_five_seconds_of_the_end_of_the_disk_alarm(
    sender: Sender, receiver: Receiver, amqp_url: str, rabbitmq: RabbitMQ
) -> None:
    """However long it lasted: several connections had no answer meanwhile."""
    guests: list[UUID] = []

    async def one_more_is_blocked() -> object:
        guests.append(uuid4())  # those of before the alarm reached the connection were taken
        await sender.happens(guests[-1], "registered")
        return await found_by(receiver, BLOCKED)

    async with at_work(receiver, amqp_url):
        await eventually(partial(all_are_consumed, amqp_url))
        with disk_alarm(rabbitmq):
            await eventually(one_more_is_blocked, within=15, every=0.2)
            await eventually(partial(found_by, receiver, PUBLISHING), within=15)
            assert not await receiver.all_processed(guests, 1)
        await eventually(lambda: receiver.all_processed(guests, 1), within=5)


async def doctors_words(database: str, amqp_url: str) -> dict[str, tuple[bool, str]]:
    """What the steps of `doctor` about the broker find."""
    settings = ServiceSettings.model_construct(database_url=SecretStr(database), amqp_url=SecretStr(amqp_url))
    found = await examine(broker(settings, "identity"))
    return {finding.step: (finding.ok, finding.found) for finding in found}


async def no_lag(receiver: Receiver) -> bool:
    return await relay_lag(receiver.pool) == 0


async def test_a_permission_that_was_taken_away_and_a_lost_virtual_host_are_reported(
    receiver: Receiver, amqp_url: str, rabbitmq: RabbitMQ
) -> None:
    vhost = amqp_url.rpartition("/")[2]
    own = rabbitmq.create_service_user("identity", vhost)
    async with at_work(receiver, amqp_url, own) as faults:
        await eventually(partial(all_are_consumed, amqp_url))
        await eventually(partial(nothing_is_found, receiver))
        nothing = '<<"^$">>, <<"^$">>, <<"^$">>, <<"landelijk">>'
        rabbitmq.evaluate(
            f'ok = rabbit_auth_backend_internal:set_permissions(<<"identity">>, <<"{vhost}">>, {nothing})'
        )
        fault = await eventually(partial(found_by, receiver, OWN_QUEUES[0]), within=15)
        assert fault
        assert "ACCESS_REFUSED" in fault.reason
        rabbitmq.create_service_user("identity", vhost)
        await eventually(partial(nothing_is_found, receiver), within=15)
        rabbitmq.delete_vhost(vhost)
        fault = await eventually(partial(found_by, receiver, CONSUMING))
        assert fault
        assert vhost in fault.reason
        rabbitmq.create_vhost(vhost)
        rabbitmq.create_service_user("identity", vhost)
        await eventually(partial(all_are_consumed, amqp_url))
        await eventually(partial(nothing_is_found, receiver))
        await faults.require_none()


async def test_a_worker_that_is_started_again_keeps_the_moment_and_a_dead_one_reports_nothing(
    receiver: Receiver,
) -> None:
    first, second = BrokerFaults(receiver.pool), BrokerFaults(receiver.pool)
    first.note(BLOCKED, "low on memory")
    async with running(first.keep_storing()):
        [noted] = await eventually(partial(faults_of, receiver.pool))
    second.note(BLOCKED, "low on memory")
    async with running(second.keep_storing()):
        await eventually(partial(_rows, receiver, 2))
        assert await faults_of(receiver.pool) == [noted]
        second.clear(BLOCKED)
        await eventually(partial(_rows, receiver, 1))
    assert await faults_of(receiver.pool) == [noted], "the first one said so a moment ago"
    await receiver.pool.execute("UPDATE broker_faults SET seen_at = seen_at - interval '20 s'")
    assert await nothing_is_found(receiver)


async def _rows(receiver: Receiver, count: int) -> bool:
    return bool(await receiver.pool.fetchval("SELECT count(*) FROM broker_faults") == count)
