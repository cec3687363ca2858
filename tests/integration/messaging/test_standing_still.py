"""A task that hangs, wherever it waits: it loses its lease, says so, and begins again (ADR 0002)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from shared.event_log import InMemoryEventLog, NewEvent
from shared.messaging import SCHEMA
from shared.messaging.broker_faults import BrokerFaults
from shared.messaging.envelope import Message
from shared.messaging.relay import TASK, Relay
from shared.platform import limits
from shared.platform.leases import Lease, Leases, lead
from shared.platform.postgres import open_pool
from tests.support.eventually import eventually
from tests.support.messaging import METADATA, running, to_message
from tests.support.servers import migrated
from tests.support.silence import shorten

FAULTS = 4
"""As many calls of one run never return."""


@pytest.fixture
async def pool(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Pool]:
    await migrated(database, SCHEMA)
    shorten(monkeypatch)
    async with await open_pool(database, min_size=1, max_size=4) as pool:
        yield pool


class Faults:
    """Some of the calls that pass through here never return."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.left = FAULTS
        self.hung: list[str] = []

    async def pass_on(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if self.left and self._random.random() < 0.2:
            self.left -= 1
            self.hung.append(name)
            await asyncio.Event().wait()
        return await call()

    def around(self, thing: Any, *names: str) -> None:
        """These methods of a thing may hang from now on."""
        for name in names:
            method = getattr(thing, name)

            async def hanging(*args: Any, name: str = name, method: Any = method, **more: Any) -> Any:
                return await self.pass_on(name, lambda: method(*args, **more))

            setattr(thing, name, hanging)


@pytest.mark.parametrize("seed", range(2))
async def test_a_relay_that_hangs_anywhere_goes_on_with_every_message(pool: asyncpg.Pool, seed: int) -> None:
    log, leases, faults, published = InMemoryEventLog(), Leases(pool), Faults(seed), list[int]()
    faults.around(log, "read", "position")
    faults.around(leases, "checkpoint", "move_checkpoint")
    guest = uuid4()

    class Publisher:
        async def publish(self, message: Message) -> None:
            await faults.pass_on("publish", lambda: asyncio.sleep(0))
            published.append(message.stream_version)

        async def takes_messages(self) -> bool:
            return True

    @asynccontextmanager
    async def connect() -> AsyncIterator[Publisher]:
        await faults.pass_on("connect", lambda: asyncio.sleep(0))
        yield Publisher()

    within = (
        15 / 8 * limits.LEASE * (FAULTS + 1)
    )  # of the real lease of eight seconds: fifteen for each fault
    async with running(Relay(log, to_message, connect, leases, BrokerFaults(pool)).run()):
        for number in count(1):
            await InMemoryEventLog.append(log, [an_event(guest, number)])
            await eventually(lambda: number in published, within)  # noqa: B023
            if not faults.left:
                break
        await eventually(lambda: _is_at(leases, number), within)
    assert set(published) == set(range(1, number + 1))


def an_event(guest: UUID, number: int) -> NewEvent:
    return NewEvent(guest, number, "happened", b"{}", uuid4(), METADATA)


async def _is_at(leases: Leases, position: int) -> bool:
    return await Leases.checkpoint(leases, TASK) == position


async def test_who_stands_still_loses_the_lease_and_says_so(pool: asyncpg.Pool) -> None:
    begun: list[int] = []

    async def work(lease: Lease) -> None:
        begun.append(lease.epoch)
        if len(begun) == 1:
            await asyncio.Event().wait()
        await leases.rest(lease, 60)

    def stands_still() -> float | None:
        return REGISTRY.get_sample_value("task_stuck", {"task": "quiet"})

    leases = Leases(pool)
    with capture_logs() as logs:
        async with running(lead(leases, "quiet", work)):
            await eventually(lambda: stands_still() == 1.0)
            await eventually(lambda: begun == [1, 2])
            await eventually(lambda: stands_still() == 0.0)
            await asyncio.sleep(2 * limits.LEASE)
    assert begun == [1, 2], "who rests at the head keeps the lease"
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["task.stuck"]


async def test_work_that_does_not_end_is_left_behind(pool: asyncpg.Pool) -> None:
    begun: list[int] = []
    free = asyncio.Event()

    async def work(lease: Lease) -> None:
        begun.append(lease.epoch)
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    async with running(lead(Leases(pool), "stubborn", work)):
        await eventually(lambda: begun == [1, 2])
        free.set()
