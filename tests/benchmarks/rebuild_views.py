"""Rebuilds a view, beside the library's `ProjectionRunner` with the same log and the same view (ADR 0009).

The runner processes one event at a time. It reads only the beginning of the log, and must produce the same
rows for it. The memory of a rebuild is measured with a short and with a long log.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from statistics import median
from time import perf_counter

import asyncpg

from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from registration.read_models import VIEWS
from registration.read_models.terms_due import VIEW
from shared.projections.folding import catch_up
from shared.projections.rebuild import Source, rebuild
from tests.benchmarks.guests import MASTER_KEYS
from tests.benchmarks.library_projection import LibraryRunner
from tests.benchmarks.memory import peak_of_rebuild
from tests.benchmarks.results import Result
from tests.support.projections import fill_log
from tests.support.servers import Databases, owner_url

ROUNDS = 3
GUESTS = int(os.environ.get("BENCH_GUESTS", "100000"))
GUESTS_OF_SHORT_LOG = GUESTS // 10
EVENTS_OF_LIBRARY = 2500
TARGET = 60.0
MOST_MEMORY = 1.3


async def measure(server: Postgres) -> Sequence[Result]:
    """Measure both contestants in turns, then every other view once, then the memory."""
    url = Databases(server)("bench", SCHEMA)
    await fill_log(url, GUESTS_OF_SHORT_LOG, MASTER_KEYS)
    short = await peak_of_rebuild(url, "guest_directory")
    await fill_log(url, GUESTS - GUESTS_OF_SHORT_LOG, MASTER_KEYS, first=GUESTS_OF_SHORT_LOG)
    server.sql("VACUUM ANALYZE stored_events", url.rpartition("/")[2])
    source, ours, theirs = Source(url, MASTER_KEYS), list[float](), list[float]()
    for turn in range(ROUNDS):
        done = await rebuild(source, VIEW, _nothing)
        ours.append(done.events / done.seconds)
        theirs.append(await asyncio.to_thread(_turn_of_library, owner_url(url), turn))
    await _check_that_rows_are_the_same(owner_url(url), source)
    name = "library's ProjectionRunner"
    results = [
        Result("rebuild terms_due", "events/s", median(ours), median(theirs), name, "higher", TARGET),
    ]
    for view in VIEWS:
        if view is not VIEW:
            done = await rebuild(source, view, _nothing)
            name, rate = f"rebuild {view.name}", done.events / done.seconds
            results.append(Result(name, "events/s", rate, median(ours), "terms_due", "higher"))
    long = await peak_of_rebuild(url, "guest_directory")
    what = f"memory at {done.events:,} events"
    return [*results, Result(what, "MiB", long, short, "a tenth of them", "lower", MOST_MEMORY)]


def _nothing(_more: int) -> None:
    """Ignore the progress."""


def _turn_of_library(url: str, turn: int) -> float:
    with LibraryRunner(url, f"library_{turn}") as runner:
        started = perf_counter()
        runner.wait(EVENTS_OF_LIBRARY, timeout=120)
        return EVENTS_OF_LIBRARY / (perf_counter() - started)


OURS = """
SELECT stream_id, organisation, home_isil, status, begins_on, ends_on, provisional FROM terms_due_then
"""
OF_LIBRARY = """
SELECT stream_id, organisation, home_isil, status, begins_on, ends_on, provisional FROM library_0
WHERE status IN ('valid', 'suspended')
"""


async def _check_that_rows_are_the_same(url: str, source: Source) -> None:
    """Raise AssertionError unless both contestants made the same rows: else the comparison has no value."""
    connection = await asyncpg.connect(url)
    try:
        (table,) = VIEW.tables
        await connection.execute(f"{table.creation('terms_due_then')};{table.completion('terms_due_then')}")
        to_position = await connection.fetchval("SELECT max(notification_id) FROM library_0_tracking")
        await catch_up(connection, source.folder(VIEW), "_then", 0, to_position)
        if differing := await connection.fetchval(
            f"SELECT count(*) FROM (({OF_LIBRARY} EXCEPT {OURS})"  # noqa: S608 - constants only
            f" UNION ALL ({OURS} EXCEPT {OF_LIBRARY})) AS differing"
        ):
            raise AssertionError(f"{differing} rows differ between ours and the library's")
    finally:
        await connection.close()
