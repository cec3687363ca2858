"""A registration database with a log full of lives, and its views."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from registration.adapters.tables import SCHEMA
from registration.read_models import VIEWS
from shared.event_log import EventLog, MasterKeys, PostgresEventLog
from shared.platform.leases import Leases
from shared.platform.postgres import open_pool
from shared.projections import LiveView, LiveViews, View
from shared.projections.live import status_of
from shared.projections.rebuild import Source
from tests.support.projections import Lives, write
from tests.support.servers import Databases

MASTER_KEYS = MasterKeys([b"m" * 32])


@dataclass
class Views:
    """A database, its log, and everything about its views that a test turns."""

    pool: asyncpg.Pool
    log: EventLog
    source: Source
    seeds: int = 0

    async def happens(self, guests: int) -> None:
        """So many more guests live their lives, straight into the log."""
        self.seeds += 1
        events, keys, index = Lives(self.seeds, MASTER_KEYS).rows(self.seeds * 100_000, guests)
        async with self.pool.acquire() as connection:
            await write(connection, await self.log.position(), events, keys, index)

    def alone(self, view: View) -> LiveView:
        """One view that is brought up by itself."""
        return LiveView(self.pool, self.log, self.source, view)

    def live(self, *views: View) -> LiveViews:
        """What follows the log, as in a worker."""
        return LiveViews(self.pool, self.log, self.source, views, Leases(self.pool))

    async def caught_up(self, view: View) -> None:
        """The live view catches up with the log."""
        live = self.alone(view)
        while await live.step() < await self.log.position():
            pass

    async def rows(self, view: View) -> list[list[Any]]:
        """All rows of its tables, as text."""
        return [
            [row[0] for row in await self.pool.fetch(f"SELECT t::text FROM {table.name} t ORDER BY 1")]  # noqa: S608
            for table in view.tables
        ]

    async def position(self, view: View) -> int:
        (status,) = await status_of(self.pool, [view])
        return status.position

    async def tables_beside(self) -> list[str]:
        """Tables that a rebuild or a check left."""
        rows = await self.pool.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE '%\\_\\_%'"
        )
        return [row["relname"] for row in rows]


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with registration's schema."""
    return databases(scripts=SCHEMA)


@pytest.fixture
async def views(database: str) -> AsyncIterator[Views]:
    """Sixty guests, and views that have taken in nothing yet."""
    async with await open_pool(database, min_size=3, max_size=12) as pool, PostgresEventLog(pool) as log:
        opened = Views(pool, log, Source(database, MASTER_KEYS))
        await opened.happens(60)
        yield opened


@pytest.fixture(params=VIEWS, ids=[view.name for view in VIEWS])
def view(request: pytest.FixtureRequest) -> View:
    """Each view of registration."""
    found: View = request.param
    return found
