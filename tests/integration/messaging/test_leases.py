"""One leader at a time, and a checkpoint that a stopped leader cannot move back (ADR 0002, ADR 0032)."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from shared.messaging import SCHEMA
from shared.platform import limits
from shared.platform.leases import HELD_BY, Lease, LeaseLost, Leases, lead
from shared.platform.postgres import SERVER_SETTINGS, open_pool
from tests.integration.messaging.lease_holder import TASK
from tests.support.eventually import eventually
from tests.support.messaging import running
from tests.support.servers import as_owner, migrated
from tests.support.silence import shorten, silencing

ROOT = Path(__file__).parents[3]
TAKEN_OVER_WITHIN = 2.0
CLOCKS = ("now", "clock_timestamp", "statement_timestamp", "transaction_timestamp", "timeofday")


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database that has the tables of messaging."""
    await migrated(database, SCHEMA)
    async with await open_pool(database, min_size=1, max_size=4) as pool:
        yield pool


@pytest.fixture
async def make(pool: asyncpg.Pool) -> AsyncIterator[Callable[[], Leases]]:
    """Make the leases of one more process."""
    made: list[Leases] = []

    def another() -> Leases:
        made.append(Leases(pool))
        return made[-1]

    yield another
    for leases in made:
        await leases.__aexit__()


async def test_one_of_many_takes_the_lease(make: Callable[[], Leases]) -> None:
    taken = await asyncio.gather(*(make().take("relay") for _ in range(8)))
    assert [lease for lease in taken if lease] == [Lease("relay", 1)]


async def test_a_lease_given_back_goes_to_the_next_with_a_higher_epoch(make: Callable[[], Leases]) -> None:
    first, second = make(), make()
    lease = await first.take("relay")
    assert lease
    assert await second.take("relay") is None
    assert await first.take("relay") is None, "nor does another task of the same process get it"
    await first.release(lease)
    assert await second.take("relay") == Lease("relay", 2)
    with pytest.raises(LeaseLost):
        await first.keep(lease)


async def test_a_lease_goes_with_its_connection(make: Callable[[], Leases], pool: asyncpg.Pool) -> None:
    first, second = make(), make()
    lease, waiting = await first.take("relay"), asyncio.create_task(second.wait_for("relay"))
    assert lease
    await first.keep(lease)
    assert await _holder(pool) == first.holder
    await _end_sessions(pool, first)
    await eventually(lease.lost.is_set)
    with pytest.raises(LeaseLost):
        await first.keep(lease)
    assert (await asyncio.wait_for(waiting, TAKEN_OVER_WITHIN)).epoch == 2
    assert await _holder(pool) == second.holder


async def test_leases_of_a_process_are_of_one_connection_which_ends_with_the_last(
    make: Callable[[], Leases], pool: asyncpg.Pool
) -> None:
    leases = make()
    held = [await leases.take(name) for name in ("relay", "views", "sweep")]
    assert await _sessions(pool, leases) == 1
    for lease in held:
        assert lease
        assert await _sessions(pool, leases) == 1
        await leases.release(lease)
    await eventually(lambda: _is(0, _sessions(pool, leases)))


async def test_who_waits_and_is_cancelled_leaves_nothing(
    make: Callable[[], Leases], pool: asyncpg.Pool
) -> None:
    first, second = make(), make()
    for turn in range(20):
        lease = await first.take("relay")
        assert lease
        waiting = asyncio.create_task(second.wait_for("relay"))
        released = asyncio.create_task(first.release(lease))
        await asyncio.sleep(turn / 2000)
        waiting.cancel()
        await asyncio.gather(waiting, released, return_exceptions=True)
        if waiting.cancelled():
            await eventually(lambda: _is(None, _holder(pool)))
        else:
            await second.release(waiting.result())


async def test_the_end_of_a_lease_is_no_matter_of_clocks(
    make: Callable[[], Leases], pool: asyncpg.Pool
) -> None:
    """What is written about the time, perhaps by a clock that was a day ahead, means nothing."""
    first, second = make(), make()
    lease = await first.take("relay")
    assert lease
    for days in (-1, 1):
        await pool.execute(
            "UPDATE leases SET expires_at = clock_timestamp() + make_interval(days => $1)", days
        )
        assert await second.take("relay") is None
        await first.keep(lease)
        assert await first.move_checkpoint(lease, 1)
    await _end_sessions(pool, first)
    assert (await asyncio.wait_for(second.wait_for("relay"), TAKEN_OVER_WITHIN)).epoch == 2


async def test_no_statement_of_a_lease_asks_a_clock(
    database: str, make: Callable[[], Leases], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's clocks raise an error here when they are asked."""
    async with as_owner(database) as owner:
        for name in CLOCKS:
            await owner.execute(
                f"CREATE FUNCTION public.{name}() RETURNS timestamptz LANGUAGE plpgsql AS"
                f" $$ BEGIN RAISE 'the clock is asked'; END $$"
            )
    monkeypatch.setitem(SERVER_SETTINGS, "search_path", "public, pg_catalog")
    shorten(monkeypatch)
    async with await open_pool(database, min_size=1, max_size=1) as pool:
        for name in CLOCKS:
            with pytest.raises(asyncpg.RaiseError):
                await pool.execute(f"SELECT {name}()")
        first, second = Leases(pool), Leases(pool)
        lease, waiting = await first.take("relay"), asyncio.create_task(second.wait_for("relay"))
        assert lease
        await asyncio.sleep(2 * limits.LEASE_PROOF)  # it is proven, and tried, in between
        assert await first.move_checkpoint(lease, 1)
        await first.release(lease)
        await second.release(await waiting)


async def test_a_worker_of_the_release_before_may_take_a_task(
    make: Callable[[], Leases], pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows the table alone. Both releases run side by side during an upgrade, and one leads at a time."""
    shorten(monkeypatch)
    leases = make()
    lease = await leases.take("relay")
    assert lease
    taken = """
    UPDATE leases SET holder = 'before', epoch = epoch + 1, expires_at = clock_timestamp() + interval '8 s'
     WHERE name = 'relay' AND expires_at <= clock_timestamp() RETURNING epoch
    """
    assert await pool.fetchval(taken) == 2
    assert not await leases.move_checkpoint(lease, 1)
    await eventually(lease.lost.is_set)
    assert await leases.wait_for("relay") == Lease("relay", 3)


async def test_without_an_answer_the_leases_are_given_up_before_the_server_gives_them_away(
    database: str, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    async with (
        silencing(database) as (proxy, through),
        await open_pool(through, min_size=1, max_size=1) as silenced,
    ):
        leases = Leases(silenced)
        lease = await leases.take("relay")
        assert lease
        proxy.silence()
        began = time.monotonic()
        await lease.lost.wait()
        assert await _holder(pool) == leases.holder, "the server knows nothing of it yet"
        await eventually(lambda: _is(None, _holder(pool)), within=3 * limits.LEASE_SESSION)
        assert time.monotonic() - began > limits.LEASE_PROVEN / 3
        await leases.__aexit__()


async def test_a_lease_that_cannot_be_written_down_is_not_taken_and_costs_no_other(
    database: str, make: Callable[[], Leases], pool: asyncpg.Pool
) -> None:
    leases = make()
    kept = await leases.take("views")
    assert kept
    async with as_owner(database) as owner:
        await owner.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'no space left' USING ERRCODE = 'disk_full'; END $$;"
            "CREATE TRIGGER full_disk BEFORE INSERT ON leases EXECUTE FUNCTION full_disk()"
        )
        with pytest.raises(asyncpg.DiskFullError):
            await leases.take("relay")
        assert await _holder(pool) is None
        await leases.keep(kept)
        await owner.execute("DROP TRIGGER full_disk ON leases")
    assert await leases.take("relay") == Lease("relay", 1)


async def test_the_checkpoint_only_rises(make: Callable[[], Leases]) -> None:
    leases = make()
    lease = await leases.take("relay")
    assert lease
    assert await leases.checkpoint("relay") == 0
    assert await leases.move_checkpoint(lease, 7)
    assert await leases.move_checkpoint(lease, 5)
    assert await leases.checkpoint("relay") == 7


async def test_a_leader_of_the_past_cannot_write(make: Callable[[], Leases], pool: asyncpg.Pool) -> None:
    first, second = make(), make()
    old = await first.take("relay")
    assert old
    assert await first.move_checkpoint(old, 5)
    await _end_sessions(pool, first)
    new = await second.wait_for("relay")
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
        await eventually(lambda: working == ["first 1", "third 2"], within=TAKEN_OVER_WITHIN)


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


class Holder:
    """A process of its own that counts while it leads."""

    def __init__(self, database: str, name: str, seconds: float) -> None:
        module = "tests.integration.messaging.lease_holder"
        command = [sys.executable, "-m", module, database, name, str(seconds)]
        self.written: list[tuple[int, int]] = []
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    async def read(self) -> None:
        """Collect what it prints, until it has ended."""
        assert self.process.stdout
        while line := await asyncio.to_thread(self.process.stdout.readline):
            if line.startswith("wrote "):  # the rest is its log
                _, position, epoch = line.split()
                self.written.append((int(position), int(epoch)))


@pytest.fixture
async def start(database: str, pool: asyncpg.Pool) -> AsyncIterator[Callable[..., Holder]]:
    """Start another process; all are gone when the test ends."""
    holders: list[Holder] = []
    reading: list[asyncio.Task[None]] = []

    def another(name: str, seconds: float = limits.LEASE_SESSION) -> Holder:
        holders.append(Holder(database, name, seconds))
        reading.append(asyncio.create_task(holders[-1].read()))
        return holders[-1]

    yield another
    for holder in holders:
        holder.process.kill()
        holder.process.wait()
    await asyncio.gather(*reading)
    for holder in holders:
        assert holder.process.stdout
        holder.process.stdout.close()


async def test_when_a_process_is_killed_another_has_its_lease_within_two_seconds(
    start: Callable[..., Holder], pool: asyncpg.Pool
) -> None:
    leader = start("0")
    await eventually(lambda: len(leader.written) > 3, within=20)
    for turn in (1, 2):
        waiting = start(str(turn))
        await eventually(lambda: _waits(pool, str(turn)), within=20)  # noqa: B023
        leader.process.send_signal(signal.SIGKILL)
        began = time.monotonic()
        await eventually(lambda: waiting.written, within=10, every=0.005)  # noqa: B023
        assert time.monotonic() - began < TAKEN_OVER_WITHIN
        assert waiting.written[0] > (leader.written[-1][0], turn)
        assert waiting.written[0][1] == turn + 1
        leader = waiting


async def test_a_process_that_is_stopped_loses_its_lease_and_writes_nothing_twice_when_it_wakes(
    start: Callable[..., Holder], pool: asyncpg.Pool
) -> None:
    seconds = 1.5
    first = start("first", seconds)
    await eventually(lambda: len(first.written) > 3, within=20)
    second = start("second", seconds)
    await eventually(lambda: _waits(pool, "second"), within=20)
    first.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    await eventually(lambda: second.written, within=20)
    assert time.monotonic() - began < seconds + TAKEN_OVER_WITHIN
    await eventually(lambda: len(second.written) > 10)
    before = len(second.written)
    first.process.send_signal(signal.SIGCONT)
    await eventually(lambda: _waits(pool, "first"))
    await eventually(lambda: len(second.written) > before + 10)
    positions = [position for position, _ in first.written + second.written]
    assert sorted(positions) == sorted(set(positions)), "each is written once"
    assert {epoch for _, epoch in first.written} == {1}
    assert {epoch for _, epoch in second.written} == {2}


async def _holder(pool: asyncpg.Pool, name: str = "relay") -> str | None:
    held_by = HELD_BY.format("$1")
    holder: str | None = await pool.fetchval(f"SELECT {held_by}", name)
    return holder


async def _is(expected: object, found: object) -> bool:
    return bool(await found == expected)  # type: ignore[misc]


async def _sessions(pool: asyncpg.Pool, leases: Leases) -> int:
    return int(
        await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", _name(leases)
        )
    )


async def _end_sessions(pool: asyncpg.Pool, leases: Leases) -> None:
    ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1"
    assert await pool.fetchval(ended, _name(leases))


def _name(leases: Leases) -> str:
    return f"leases of {leases.holder}"[:63]


async def _waits(pool: asyncpg.Pool, name: str) -> bool:
    """Whether this process has its connection, and so tries to get the lease, and another one has it."""
    found = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state = 'idle'"
    return bool(await pool.fetchval(found, f"leases of {name}")) and await _holder(pool, TASK) != name
