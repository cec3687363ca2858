"""How far each view is: for operators, and for readers who wait for what they wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from shared.projections.errors import ViewBehind
from shared.projections.live import view_failed, view_lag
from shared.projections.view import View

MOST_SECONDS = 2.0
LOOK_EVERY = 0.02  # seconds

POSITION = "SELECT position FROM projections WHERE name = $1"

STATUS = """
SELECT projections.name, position, head - position AS lag, moved_at, rebuilt_at, failure,
       CASE WHEN lease.expires_at > clock_timestamp() THEN lease.holder END AS followed_by,
       EXISTS (
           SELECT FROM pg_stat_activity WHERE datname = current_database()
           AND application_name = 'building ' || projections.name
       ) AS being_built
FROM projections LEFT JOIN leases AS lease ON lease.name = 'view ' || projections.name,
     (SELECT coalesce(max(notification_id), 0) AS head FROM stored_events) AS log
WHERE projections.name = ANY ($1) ORDER BY projections.name
"""


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """One view. `lag`: events that it has not taken in; `failure`: why it stands still."""

    name: str
    position: int
    lag: int
    moved_at: datetime
    rebuilt_at: datetime | None
    failure: str | None
    followed_by: str | None
    being_built: bool


async def status_of(pool: asyncpg.Pool | asyncpg.Connection, views: Sequence[View]) -> list[ViewStatus]:
    """All of these views, by name."""
    return [ViewStatus(**row) for row in await pool.fetch(STATUS, [view.name for view in views])]


async def measure_views(pool: asyncpg.Pool, views: Sequence[View]) -> None:
    """Bring the gauges of these views up to date, in whatever process they are followed."""
    for status in await status_of(pool, views):
        view_lag.labels(status.name).set(status.lag)
        view_failed.labels(status.name).set(status.failure is not None)


async def wait_until_at(pool: asyncpg.Pool, view: View, position: int) -> None:
    """Wait until the view has taken in a position. Raises ViewBehind after MOST_SECONDS."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + MOST_SECONDS
    while await pool.fetchval(POSITION, view.name) < position:
        if loop.time() > deadline:
            raise ViewBehind
        await asyncio.sleep(LOOK_EVERY)
