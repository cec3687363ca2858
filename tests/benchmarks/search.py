"""A clerk's search by the beginning of names, among very many guests, beside a query by primary key.

The rows of the view are made in the database: 20,000 surnames, as common as surnames are, and 50 first names.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from statistics import quantiles
from time import perf_counter
from uuid import UUID

import asyncpg

from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from registration.read_models.guest_directory import VIEW, GuestDirectory, Search, asked_for
from shared.platform.postgres import open_pool
from shared.projections.rebuild import Source
from tests.benchmarks.guests import MASTER_KEYS
from tests.benchmarks.results import Result
from tests.support.servers import Databases

GUESTS = int(os.environ.get("BENCH_GUESTS", "1000000"))
ORGANISATIONS = 100
SEARCHES = 1000
TARGET = 3.0
BY_KEY = "SELECT name, birth_date, header FROM guest_directory WHERE stream_id = $1"

# A surname has the letters of a number, so that names have beginnings in common as real ones have.
MADE = f"""
CREATE TABLE made AS
SELECT gen_random_uuid() AS stream_id, '1' || lpad((n % {ORGANISATIONS})::text, 3, '0') AS organisation,
       'v' || translate(lpad((n / {ORGANISATIONS} % 50)::text, 3, '0'), '0123456789', 'aeioubdfgk') AS first,
       translate(lpad(floor(20000 * power(random(), 2))::text, 5, '0'), '0123456789', 'sjbvmdkhpl') || 'ens'
           AS surname,
       '09' || lpad(n::text, 8, '0') AS card, date '1940-01-01' + n % 25000 AS birth_date
  FROM generate_series(1, $1::int) AS n
"""  # noqa: S608 - constants only
GUEST_ROWS = """
INSERT INTO guest_directory
SELECT stream_id, organisation, '9453', 'active', card, '{}', first || ' ' || surname,
       surname || ' ' || first, birth_date, 'NL-070288', 'Gastlener', NULL, 'confirmed', NULL
  FROM made
"""
WORD_ROWS = """
INSERT INTO guest_words
SELECT stream_id, organisation, word, surname || ' ' || first, NULL
  FROM made CROSS JOIN LATERAL unnest(ARRAY[
           first, surname, first || surname, card, birth_date::text, to_char(birth_date, 'DDMMYYYY'),
           to_char(birth_date, 'YYYYMMDD')]) AS word
"""


async def measure(server: Postgres) -> Sequence[Result]:
    """Fill the view's tables, then search and read by primary key in turns."""
    url = Databases(server)("bench", SCHEMA)
    await _fill(url)
    async with await open_pool(url, min_size=1, max_size=2) as pool:
        found = await pool.fetch(
            "SELECT stream_id, organisation, name FROM guest_directory TABLESAMPLE BERNOULLI (10) LIMIT 20000"
        )
        chosen = random.Random(7).sample(found, min(SEARCHES, len(found)))
        for letters in (4, None):  # what is asked first is read from the disk and planned
            await _times(pool, chosen, letters)
        surname, full = await _times(pool, chosen, 4), await _times(pool, chosen, None)
    return [
        Result(
            f"search: {what}, {GUESTS:,} guests, p99",
            "ms",
            _p99(ours),
            _p99(by_key),
            "by primary key, p99",
            "lower",
            target,
        )
        for what, (ours, by_key), target in (
            ("initial and surname", full, TARGET),
            ("four letters of a surname", surname, None),
        )
    ]


async def _fill(url: str) -> None:
    """Fill the tables as a rebuild does: without indexes, which are made afterwards."""
    connection = await Source(url, MASTER_KEYS).connect(VIEW)
    try:
        statements = [
            *(f"DROP TABLE {table.name}; {table.creation(table.name)}" for table in VIEW.tables),
            MADE.replace("$1", str(GUESTS)),
            GUEST_ROWS,
            WORD_ROWS,
            "DROP TABLE made",
            *(table.completion(table.name) for table in VIEW.tables),
            *(f"VACUUM ANALYZE {table.name}" for table in VIEW.tables),
        ]
        await connection.execute("SET statement_timeout = 0; SET maintenance_work_mem = '256MB'")
        for statement in statements:
            await connection.execute(statement, timeout=3600)
    finally:
        await connection.close()


async def _times(
    pool: asyncpg.Pool, guests: Sequence[asyncpg.Record], letters: int | None
) -> tuple[list[float], list[float]]:
    """Return the seconds of searches, and of queries by key. `letters` None: an initial and the surname."""
    directory, searches, by_key = GuestDirectory(pool), list[float](), list[float]()
    for guest in guests:
        first, surname = guest["name"].split()
        typed = f"{first[:2]} {surname}" if letters is None else surname[:letters]
        began = perf_counter()
        page = await directory.page(Search(guest["organisation"], asked_for(typed)))
        searches.append(perf_counter() - began)
        if not page.total:
            raise AssertionError("a guest was not found")
        by_key.append(await _by_key(pool, guest["stream_id"]))
    return searches, by_key


async def _by_key(pool: asyncpg.Pool, guest_id: UUID) -> float:
    began = perf_counter()
    await pool.fetchrow(BY_KEY, guest_id)
    return perf_counter() - began


def _p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100)[98] * 1000
