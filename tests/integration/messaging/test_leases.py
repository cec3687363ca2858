"""One leader at a time, and a checkpoint that a stopped leader cannot move back (ADR 0002)."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.messaging import SCHEMA
from shared.platform import limits
from shared.platform.leases import Lease, Leases, lead
from shared.platform.postgres import open_pool
from tests.support.eventually import eventually
from tests.support.messaging import running
from tests.support.servers import migrated


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database that has the tables of messaging."""
    await migrated(database, SCHEMA)
    async with await open_pool(database, min_size=1, max_size=4) as pool:
        yield pool


async def test_one_of_many_takes_the_lease(pool: asyncpg.Pool) -> None:
    taken = await asyncio.gather(*(Leases(pool).take("relay") for _ in range(8)))
    assert [lease for lease in taken if lease] == [Lease("relay", 1)]


async def test_a_lease_given_back_goes_to_the_next_with_a_higher_epoch(pool: asyncpg.Pool) -> None:
    first, second = Leases(pool), Leases(pool)
    lease = await first.take("relay")
    assert lease
    assert await second.take("relay") is None
    await first.release(lease)
    assert await second.take("relay") == Lease("relay", 2)
    assert not await first.renew(lease)


async def test_a_lease_that_is_not_renewed_expires(pool: asyncpg.Pool) -> None:
    first, second = Leases(pool), Leases(pool)
    lease = await first.take("relay")
    assert lease
    assert await first.renew(lease)
    await _expire(pool)
    assert await second.take("relay")
    assert not await first.renew(lease)


async def test_the_checkpoint_only_rises(pool: asyncpg.Pool) -> None:
    leases = Leases(pool)
    lease = await leases.take("relay")
    assert lease
    assert await leases.checkpoint("relay") == 0
    assert await leases.move_checkpoint(lease, 7)
    assert await leases.move_checkpoint(lease, 5)
    assert await leases.checkpoint("relay") == 7


async def test_a_leader_of_the_past_cannot_write(pool: asyncpg.Pool) -> None:
    first, second = Leases(pool), Leases(pool)
    old = await first.take("relay")
    assert old
    assert await first.move_checkpoint(old, 5)
    await _expire(pool)
    new = await second.take("relay")
    assert new
    assert not await first.move_checkpoint(old, 9)
    assert await second.checkpoint("relay") == 5
    assert await second.move_checkpoint(new, 6)


async def test_work_moves_to_another_process_when_its_leader_stops(pool: asyncpg.Pool) -> None:
    working: list[str] = []

    def work(name: str) -> Leases:
        return Leases(pool, holder=name)

    async def by(name: str) -> None:
        async def at_work(lease: Lease) -> None:
            working.append(f"{name} {lease.epoch}")
            await asyncio.Event().wait()

        await lead(work(name), "task", at_work)

    async with running(by("first")):
        await eventually(lambda: working == ["first 1"])
        async with running(by("second")):
            await asyncio.sleep(0)
    async with running(by("third")):
        await eventually(lambda: working == ["first 1", "third 2"], within=limits.LEASE)


async def test_work_that_fails_begins_again(pool: asyncpg.Pool) -> None:
    epochs: list[int] = []

    async def fails(lease: Lease) -> None:
        epochs.append(lease.epoch)
        raise ValueError("this time")

    async with running(lead(Leases(pool), "task", fails)):
        await eventually(lambda: epochs[:2] == [1, 2])


async def test_work_ends_when_the_lease_is_lost(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LEASE", 0.5)
    ended = asyncio.Event()

    async def work(lease: Lease) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with running(lead(Leases(pool), "task", work)):
        await eventually(lambda: pool.fetchval("SELECT count(*) FROM leases"))
        await pool.execute("UPDATE leases SET epoch = 9, holder = 'another'")
        await asyncio.wait_for(ended.wait(), 10)


async def _expire(pool: asyncpg.Pool) -> None:
    await pool.execute("UPDATE leases SET expires_at = clock_timestamp()")
