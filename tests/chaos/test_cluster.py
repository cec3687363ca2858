"""Three nodes of RabbitMQ are one cluster, and the one that leads the queues is killed again and again.

It takes five minutes: `make cluster`. What it measures is in docs/reliability.md. The short form, with one
node and a dead address, is in tests/integration/messaging/test_several_brokers.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from shared.messaging.envelope import Message
from shared.messaging.errors import BrokerUnavailable
from shared.messaging.exchanges import shares_of
from tests.chaos.auditor import audit, gather
from tests.chaos.each_guest import has_that_one_link_and_one_actor, the_logs_have_each_once
from tests.chaos.load import Load, linked, recognised_once, under
from tests.chaos.test_silence import Stillest, spared
from tests.support.commands import without_settings_of_services
from tests.support.eventually import eventually
from tests.support.memory import servers_folder
from tests.support.messaging import open_channel, running
from tests.support.rabbitmq_cluster import SIZE, Cluster
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

CLIENTS, PAUSE = 4, 0.9  # a thousand cards have to do for all of it
KILLS, EVERY_SECONDS = 9, 20.0
GOES_ON_SECONDS = 10.0
SERVICES = ("registration", "identity")
BOTH = {"guest-registered.v1", "login-account-linked.v1"}
SHARES = [name for service in SERVICES for name in shares_of(service)]

log = logging.getLogger("cluster")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with servers_folder("cluster") as folder:
        nodes = Cluster(folder)
        try:
            nodes.start()
            yield nodes
        finally:
            nodes.stop()


@pytest.fixture
def stack(cluster: Cluster, tmp_path: Path) -> Iterator[RunningStack]:
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    running = RunningStack(tmp_path / "run", "amqp", {"AMQP_URL": cluster.urls})
    running.start()
    yield running
    running.kill_if_running()


@dataclass
class Order:
    """What a queue of its own gets of both services, without the feed: types, and versions in their order."""

    versions: dict[tuple[str, UUID], list[int]] = field(default_factory=dict)
    types: dict[UUID, set[str]] = field(default_factory=dict)
    messages: int = 0

    async def watch(self, urls: str) -> None:
        """Consume until cancelled, on another node when one is gone."""
        while True:
            with suppress(BrokerUnavailable, TimeoutError, *CONNECTION_EXCEPTIONS):
                async with open_channel(urls) as channel:
                    closed = asyncio.Event()
                    channel.close_callbacks.add(lambda *_, closed=closed: closed.set())
                    await self._consume(channel)
                    await closed.wait()
            await asyncio.sleep(0.2)

    async def _consume(self, channel: AbstractChannel) -> None:
        queue = await channel.declare_queue("observer", durable=True, arguments={"x-queue-type": "quorum"})
        for service in SERVICES:
            await queue.bind(f"{service}.events", routing_key="#")
        await queue.consume(self._take)

    async def _take(self, delivery: AbstractIncomingMessage) -> None:
        self._note(Message.from_json(delivery.body))
        with suppress(*CONNECTION_EXCEPTIONS):  # it is delivered again
            await delivery.ack()

    def _note(self, message: Message) -> None:
        self.messages += 1
        self.types.setdefault(message.subject, set()).add(message.type)
        versions = self.versions.setdefault((message.source, message.subject), [])
        if message.stream_version not in versions:  # what comes again is dropped by the inbox
            versions.append(message.stream_version)

    def missing(self, guests: Sequence[UUID]) -> list[UUID]:
        """Of these guests the broker did not bring both messages."""
        return [guest for guest in guests if not self.types.get(guest, set()) >= BOTH]

    def disorder(self) -> list[str]:
        return [
            f"{source} {subject}: {versions}"
            for (source, subject), versions in self.versions.items()
            if versions != sorted(versions)
        ]


@asynccontextmanager
async def watched(stack: RunningStack) -> AsyncIterator[dict[str, Stillest]]:
    """How long the relay of each service was still at most."""
    found = {service: Stillest() for service in SERVICES}
    async with AsyncExitStack() as opened:
        watching = [
            asyncio.create_task(
                still.watch(
                    await opened.enter_async_context(spared(stack.description["database_urls"][service]))
                )
            )
            for service, still in found.items()
        ]
        yield found
        for task in watching:
            task.cancel()


async def test_the_leader_killed_every_twenty_seconds_loses_nothing_and_disorders_nothing(
    cluster: Cluster, stack: RunningStack
) -> None:
    order = Order()
    async with (
        stack.client("registration", "counter", timeout=15.0) as counter,
        stack.client("identity", "wisecat", timeout=15.0) as wisecat,
        stack.client("identity", "operator") as operator,
        watched(stack) as still,
        running(order.watch(cluster.urls)),
    ):
        await eventually(lambda: each_queue_has_three_members(cluster), within=30)
        load = Load(counter, wisecat, pause=PAUSE)
        chaos = Chaos(cluster, stack, load, still, counter)
        async with under(load, CLIENTS):
            for number in range(KILLS):
                await chaos.kill_leader(number)
            await load.goes_on()
        for guest in load.guests:
            await eventually(partial(linked, counter, guest), within=30)
            logins = (*guest.logins, await load.log_in(guest.card))
            recognised_once(guest, logins)
            await has_that_one_link_and_one_actor(operator, guest, logins)
        await eventually(lambda: all(each.lag == 0 for each in still.values()), within=30)
        guests = [UUID(guest.guest_id) for guest in load.guests]
        await eventually(lambda: not order.missing(guests), within=30)
    await the_logs_have_each_once(stack, {UUID(guest.guest_id) for guest in load.guests})
    # In the order of each guest is what comes of them (I8). A broker that is killed may bring two of them the
    # other way round: it forgets the first one, which has no confirm yet and is published again.
    assert audit(await gather(stack, load.guests)) == []
    no_log_has_the_password(cluster, stack)
    log.info(
        "%d guests, %d requests lost, %d messages seen, of %d guests not in their order",
        len(load.guests),
        load.without_reply(),
        order.messages,
        len(order.disorder()),
    )


@dataclass
class Chaos:
    """Kills the leader, and looks what goes on meanwhile."""

    cluster: Cluster
    stack: RunningStack
    load: Load
    still: dict[str, Stillest]
    counter: httpx2.AsyncClient

    async def kill_leader(self, number: int) -> None:
        """The node that leads most queues. While it is away doctor names it, and messages travel."""
        began, before = time.monotonic(), len(self.load.guests)
        node = self.cluster.leader_of_most(SHARES)
        led = [queue for queue, name in self.cluster.leaders(SHARES).items() if name == node.name]
        for each in self.still.values():
            each.seconds = 0.0
        self.cluster.kill(node)
        await self.load.goes_on(1)
        await eventually(
            partial(linked, self.counter, self.load.guests[-1]), within=GOES_ON_SECONDS, every=0.1
        )
        linked_after = time.monotonic() - began
        if number == 0:
            await asyncio.to_thread(doctor_names, self.cluster, self.stack, node.port)
        await asyncio.sleep(max(0.0, began + EVERY_SECONDS / 2 - time.monotonic()))
        node.node.spawn()
        await eventually(lambda: len(self.cluster.running()) == SIZE, within=60)
        back_after = time.monotonic() - began
        await asyncio.sleep(max(0.0, began + EVERY_SECONDS - time.monotonic()))
        log.info(
            "kill %d: %s led %d of %d queues; a guest linked after %.1f s; relays still for %s s at most;"
            " %d guests in the meantime; three nodes again after %.1f s",
            number + 1,
            node.name,
            len(led),
            len(SHARES),
            linked_after,
            {service: round(each.seconds, 1) for service, each in self.still.items()},
            len(self.load.guests) - before,
            back_after,
        )
        assert max(each.seconds for each in self.still.values()) <= GOES_ON_SECONDS


def each_queue_has_three_members(cluster: Cluster) -> bool:
    assert len(cluster.leaders(SHARES)) == len(SHARES)
    for queue in (*SHARES, *(f"{service}.rejected" for service in SERVICES)):
        assert len(cluster.members(queue)) == SIZE, queue
    return True


def no_log_has_the_password(cluster: Cluster, stack: RunningStack) -> None:
    for file in (*(stack.run_dir / "logs").glob("*.log"), stack.output):
        assert cluster.nodes[0].password not in file.read_text("utf-8", "replace"), file


def doctor_names(cluster: Cluster, stack: RunningStack, port: int) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("registration"), "doctor", "--json"],
        env=without_settings_of_services(os.environ) | {"RUN_DIR": str(stack.run_dir)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = {check["step"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["broker"]["found"] == f"connected to {SIZE - 1} of {SIZE} nodes"
    nodes = {f"broker node 127.0.0.1:{node.port}": node.port != port for node in cluster.nodes}
    assert {name: found[name]["ok"] for name in nodes} == nodes
    assert cluster.nodes[0].password not in done.stdout + done.stderr
