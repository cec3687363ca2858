"""Appending and logging in with a very long log, beside the same with a short one.

The log is identity's, filled in the database with streams of one event. The workers are suspended: nobody
reads these events.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter

import asyncpg

from infra.local.postgres import Postgres
from shared.event_log import AggregateStore, create_id
from tests.benchmarks.contestants import our_log, share_out
from tests.benchmarks.guests import MASTER_KEYS, METADATA, registered
from tests.benchmarks.path import CLIENTS, Client, client_of, each, product
from tests.benchmarks.path import registered as registered_over_http
from tests.benchmarks.results import Result

LONG = int(os.environ.get("BENCH_EVENTS", "5000000"))
SHORT = LONG // 100
ROUNDS = 5
WRITERS, SAVES, LOGINS, GUESTS = 64, 2000, 1600, 100  # of one round
TARGET = 0.9
PART = 500_000
LENGTH = "SELECT coalesce(max(notification_id), 0) FROM stored_events"
FILL = """
INSERT INTO stored_events (originator_id, originator_version, notification_id, event_id, correlation_id,
                           causation_id, recorded_at, topic, caused_by, state)
SELECT gen_random_uuid(), 1, $1::bigint + n, gen_random_uuid(), gen_random_uuid(), NULL, now(),
       'benchmark.filler', 'benchmark', decode(repeat(md5(n::text), 16), 'hex')
  FROM generate_series(1, $2::bigint) AS n
"""


async def measure(server: Postgres) -> Sequence[Result]:
    """Measure with the short log, then with the long one."""
    with tempfile.TemporaryDirectory(prefix="long-log-") as folder:
        async with product(server, Path(folder)) as (stack, ours), client_of(ours) as client:
            await registered_over_http(client, ours, range(1, GUESTS + 1), CLIENTS)
            await each(client.log_in, range(1, GUESTS + 1), CLIENTS)
            for role, process in ours.programs.items():
                if role.endswith("worker"):
                    process.suspend()
            url = stack.description["owner_database_urls"]["identity"]
            numbers = count(1)
            await _fill(server, url, SHORT)
            short = await _rates(url, client, numbers)
            await _fill(server, url, LONG)
            long = await _rates(url, client, numbers)
    return [
        Result(f"{what} at {LONG:,} events", unit, ours_, theirs, f"at {SHORT:,}", "higher", TARGET)
        for what, unit, ours_, theirs in (
            (f"append, {WRITERS} writers", "events/s", long[0], short[0]),
            (f"known login, {CLIENTS} clients", "/s", long[1], short[1]),
        )
    ]


async def _fill(server: Postgres, url: str, length: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off")
        while (position := await connection.fetchval(LENGTH)) < length:
            await connection.execute(FILL, position, min(PART, length - position), timeout=3600)
        await connection.execute("VACUUM ANALYZE stored_events", timeout=3600)
    finally:
        await connection.close()
    server.sql("CHECKPOINT")


async def _rates(url: str, client: Client, numbers: count[int]) -> tuple[float, float]:
    """Return the median rates of appends and of known logins."""
    appends, logins = list[float](), list[float]()
    known = (list(range(1, GUESTS + 1)) * LOGINS)[:LOGINS]
    async with our_log(url) as (store, _):
        for _ in range(ROUNDS):
            cards = [f"0991{next(numbers):06}" for _ in range(SAVES)]
            appends.append(SAVES / await share_out(cards, WRITERS, partial(_save, store)))
            began = perf_counter()
            await each(client.log_in, known, CLIENTS)
            logins.append(LOGINS / (perf_counter() - began))
    return median(appends), median(logins)


async def _save(store: AggregateStore, card: str) -> None:
    key, row = MASTER_KEYS.create(create_id())
    await store.save(registered(key, card, strips=False), metadata=METADATA, side_rows=[row])
