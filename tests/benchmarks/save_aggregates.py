"""Saves prepared aggregates; the time of mapping events is included for every contestant (ADR 0001).

Our log has 1, 16, 64 and 256 writers. The baselines are the library's PostgreSQL application with its best
number of threads, COPY, and a bare INSERT for one writer. All write to the same server in turns. The library
waits for the commit, so a second event in a save costs it little. So targets are for saves of one event.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import asyncpg

from infra.local.postgres import Postgres
from shared.event_log import SCHEMA, AggregateStore
from tests.benchmarks.contestants import BareTable, bare_table, library, our_log, share_out
from tests.benchmarks.guests import EVENTS_PER_GUEST, METADATA, prepare
from tests.benchmarks.results import Result
from tests.support.servers import Databases, owner_url

ROUNDS = 5
GUESTS_OF_WRITERS = {1: 500, 16: 4000, 64: 8000, 256: 12000}
THREADS = (1, 8, 16)
GUESTS_OF_LIBRARY = 300
GUESTS_OF_COPY = 8000
GUESTS_ONE_BY_ONE = 400
TARGETS = {64: 30.0, 256: 50.0}
TARGET_OF_ONE = 1.3


@dataclass
class Rates:
    """Events per second of every contestant, one figure per round, and the seconds of single saves."""

    strips: bool
    ours: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    library: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    copy: list[float] = field(default_factory=list)
    save_seconds: list[float] = field(default_factory=list)
    insert_seconds: list[float] = field(default_factory=list)

    @property
    def events(self) -> int:
        """The number of events in a save."""
        return EVENTS_PER_GUEST if self.strips else 1

    def best_of_library(self) -> tuple[int, float]:
        """Return the number of threads with which the library is fastest, and that rate in events/s."""
        return max(
            ((threads, median(rates)) for threads, rates in self.library.items()), key=lambda it: it[1]
        )


async def measure(server: Postgres) -> Sequence[Result]:
    """Measure saves of one event, which have targets, and saves of two."""
    return [*await _measure(server, strips=False), *await _measure(server, strips=True)]


async def _measure(server: Postgres, *, strips: bool) -> Sequence[Result]:
    """Measure all contestants in turns."""
    rates = Rates(strips)
    databases = Databases(server)
    library_at = owner_url(databases("bench"))
    async with (
        our_log(databases("bench", SCHEMA)) as (store, pool),
        bare_table(databases("bench", SCHEMA)) as bare,
    ):
        for _ in range(ROUNDS):
            await _our_turn(server, store, rates)
            await asyncio.to_thread(_turn_of_library, server, library_at, rates)
            await _turn_of_copy(server, bare, rates)
            await _one_by_one(server, store, bare, rates)
        await check_that_all_are_there(pool, _saved(rates))
    return _results(rates)


async def check_that_all_are_there(pool: asyncpg.Pool, acknowledged: int) -> None:
    """Raise AssertionError unless every acknowledged event is stored, at positions without gaps."""
    count = await pool.fetchval("SELECT count(*) FROM stored_events")
    maximum = await pool.fetchval("SELECT max(notification_id) FROM stored_events")
    if not count == maximum == acknowledged:
        raise AssertionError(f"{acknowledged} events acknowledged, {count} stored, last position {maximum}")


async def _our_turn(server: Postgres, store: AggregateStore, rates: Rates) -> None:
    for writers, count in GUESTS_OF_WRITERS.items():
        guests = prepare(count, strips=rates.strips)
        await _settle(server)
        seconds = await share_out(guests, writers, lambda guest: store.save(guest, metadata=METADATA))
        rates.ours[writers].append(count * rates.events / seconds)


def _turn_of_library(server: Postgres, url: str, rates: Rates) -> None:
    for threads in THREADS:
        guests = prepare(GUESTS_OF_LIBRARY, strips=rates.strips)
        server.sql("CHECKPOINT")
        with library(url, threads) as application:
            seconds = application.save_all(guests, threads)
        rates.library[threads].append(GUESTS_OF_LIBRARY * rates.events / seconds)


async def _turn_of_copy(server: Postgres, bare: BareTable, rates: Rates) -> None:
    guests = prepare(GUESTS_OF_COPY, strips=rates.strips)
    await _settle(server)
    seconds = await share_out([guests], 1, bare.copy)
    rates.copy.append(GUESTS_OF_COPY * rates.events / seconds)


async def _one_by_one(server: Postgres, store: AggregateStore, bare: BareTable, rates: Rates) -> None:
    """Alternate a save of our log and a bare INSERT, so that other load on the machine slows both alike."""
    guests, others = (prepare(GUESTS_ONE_BY_ONE, strips=rates.strips) for _ in range(2))
    await _settle(server)
    for guest, other in zip(guests, others, strict=True):
        started = time.perf_counter()
        await store.save(guest, metadata=METADATA)
        between = time.perf_counter()
        await bare.insert(bare.rows([other]))
        ended = time.perf_counter()
        rates.save_seconds.append(between - started)
        rates.insert_seconds.append(ended - between)


async def _settle(server: Postgres) -> None:
    """Make a checkpoint, so that a contestant does not wait for the writes of the one before it."""
    await asyncio.to_thread(server.sql, "CHECKPOINT")


def _saved(rates: Rates) -> int:
    return ROUNDS * (sum(GUESTS_OF_WRITERS.values()) + GUESTS_ONE_BY_ONE) * rates.events


def _results(rates: Rates) -> Sequence[Result]:
    threads, best = rates.best_of_library()
    library_name = f"library, best of {'/'.join(map(str, THREADS))} threads ({threads})"
    copy = median(rates.copy)
    results = []
    what = f"save {rates.events} event{'s' if rates.strips else ''}"
    for writers, ours in rates.ours.items():
        name, rate = f"{what}, {writers} writers", median(ours)
        target = None if rates.strips else TARGETS.get(writers)
        results.append(Result(name, "events/s", rate, best, library_name, "higher", target))
        results.append(Result(name, "events/s", rate, copy, "COPY", "higher"))
    save, insert = (median(seconds) * 1000 for seconds in (rates.save_seconds, rates.insert_seconds))
    target = None if rates.strips else TARGET_OF_ONE
    return [*results, Result(f"{what}, 1 writer", "ms", save, insert, "bare INSERT", "lower", target)]
