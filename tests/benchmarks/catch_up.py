"""All live views of registration catch up with the log, beside a rebuild of the same views (ADR 0009)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from statistics import median
from time import perf_counter

from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from registration.read_models import VIEWS
from shared.event_log import PostgresEventLog
from shared.platform.leases import Leases
from shared.platform.postgres import Pool, open_pool
from shared.projections import LiveViews
from shared.projections.rebuild import Source, rebuild
from tests.benchmarks.guests import MASTER_KEYS
from tests.benchmarks.results import Result
from tests.support.projections import fill_log
from tests.support.servers import Databases

ROUNDS = 3
EVENTS = int(os.environ.get("BENCH_EVENTS", "50000"))
EVENTS_PER_GUEST = 5  # about; the log is filled until it is long enough
TARGET = 0.5
LOOK_EVERY_SECONDS = 0.02
BEHIND = "SELECT count(*) FROM projections WHERE name = ANY ($1) AND position < $2"
NAMES = [view.name for view in VIEWS]


async def measure(server: Postgres) -> Sequence[Result]:
    """Measure both in turns, from empty views each time."""
    url, events, guests = Databases(server)("bench", SCHEMA), 0, 0
    while events < EVENTS:
        more = max(100, (EVENTS - events) // EVENTS_PER_GUEST)
        events = await fill_log(url, more, MASTER_KEYS, first=guests)
        guests += more
    server.sql("VACUUM ANALYZE stored_events", url.rpartition("/")[2])
    source, live, rebuilt = Source(url, MASTER_KEYS), list[float](), list[float]()
    async with await open_pool(url, min_size=4, max_size=16) as pool:
        for _ in range(ROUNDS):
            await _empty(pool)
            live.append(await _catch_up(pool, source, events))
            began = perf_counter()
            for view in VIEWS:
                await rebuild(source, view, lambda _: None)
            rebuilt.append(perf_counter() - began)
    rates = events / median(live), events / median(rebuilt)
    what = f"catching up with {events:,} events, {len(VIEWS)} live views"
    return [Result(what, "events/s", *rates, "rebuild of the same views", "higher", TARGET)]


async def _empty(pool: Pool) -> None:
    tables = ", ".join(table.name for view in VIEWS for table in view.tables)
    await pool.execute(f"TRUNCATE {tables}")
    await pool.execute("UPDATE projections SET position = 0 WHERE name = ANY ($1)", NAMES)


async def _catch_up(pool: Pool, source: Source, position: int) -> float:
    """Let the worker's own task follow the log until all views are at the position. Return the seconds."""
    async with PostgresEventLog(pool) as log, Leases(pool) as leases:
        began = perf_counter()
        running = asyncio.create_task(LiveViews(pool, log, source, VIEWS, leases).run())
        try:
            while await pool.fetchval(BEHIND, NAMES, position):
                if running.done():
                    raise RuntimeError("the views ended") from running.exception()
                await asyncio.sleep(LOOK_EVERY_SECONDS)
            return perf_counter() - began
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
