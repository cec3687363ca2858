"""Views that follow their log: rows and position commit together, one leader per view (A7)."""

from __future__ import annotations

import asyncpg
import structlog
from prometheus_client import Gauge

from shared.event_log import EventLog
from shared.messaging.leases import Lease, Leases, lead
from shared.projections.errors import FoldFailed
from shared.projections.folding import Folder
from shared.projections.tables import STEP, bring_up, head_of

LOOK_AGAIN = 5.0  # seconds without a ring after which the log is looked at anyway
POSITION = "SELECT position FROM projections WHERE name = $1 FOR UPDATE"
MOVE = "UPDATE projections SET position = $2, moved_at = clock_timestamp(), failure = NULL WHERE name = $1"
FAIL = "UPDATE projections SET failure = $2 WHERE name = $1"

view_lag = Gauge("view_lag_events", "Events in the log beyond the view's position", ["view"])
view_failed = Gauge("view_failed", "1 while the view stands still before an event", ["view"])
logger = structlog.get_logger(__name__)


class LiveView:
    """Keeps one view up to date. May be started and stopped anywhere, any number of times."""

    def __init__(self, pool: asyncpg.Pool, log: EventLog, folder: Folder, leases: Leases) -> None:
        self._pool = pool
        self._log = log
        self._folder = folder
        self._leases = leases
        self._name = folder.view.name

    async def run(self) -> None:
        """Follow for ever, until cancelled."""
        await lead(self._leases, f"view {self._name}", self._follow)

    async def _follow(self, _lease: Lease) -> None:
        while True:
            try:
                position = await self.step()
            except FoldFailed as failure:
                await self._pool.execute(FAIL, self._name, str(failure))
                view_failed.labels(self._name).set(1)
                raise
            view_failed.labels(self._name).set(0)
            await self._log.wait_beyond(position, LOOK_AGAIN)

    async def step(self) -> int:
        """Take in the next events, at most STEP; the view's position afterwards."""
        async with self._pool.acquire() as connection, connection.transaction():
            # The lock is the fence: a leader that was stopped finds the position where others brought it.
            position: int = await connection.fetchval(POSITION, self._name)
            head = await head_of(connection)
            upto = min(position + STEP, head)
            if upto > position:
                await bring_up(connection, self._folder, "", position, upto)
                await connection.execute(MOVE, self._name, upto)
        view_lag.labels(self._name).set(head - upto)
        return upto
