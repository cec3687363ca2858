"""Keep views up to date with the log, and report how far they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import structlog
from prometheus_client import Gauge

from shared.event_log import EventLog, LogUnavailable, make_mapper
from shared.platform import limits
from shared.platform.leases import HELD_BY, Lease, Leases, lead
from shared.platform.lifecycle import end
from shared.platform.postgres import is_transient
from shared.platform.retry import keep_trying, raise_if_cancelled
from shared.projections.folding import STEP, catch_up, head_of
from shared.projections.rebuild import Source, rebuild
from shared.projections.together import Together
from shared.projections.view import (
    CURRENT_VERSION,
    FoldFailed,
    RebuildRunning,
    View,
    ViewBehind,
    ViewFailed,
    ViewStopped,
)

log = structlog.get_logger(__name__)

MOST_SECONDS = 2.0
LOOK_EVERY = 0.02  # seconds

VIEW_POSITION = "SELECT position FROM projections WHERE name = $1"

STATUS = f"""
SELECT projections.name, position, head - position AS lag, moved_at, rebuilt_at, failure,
       {HELD_BY.format("'views'")} AS followed_by,
       EXISTS (
           SELECT FROM pg_stat_activity WHERE datname = current_database()
           AND application_name = 'building ' || projections.name
       ) AS being_built
FROM projections, (SELECT coalesce(max(notification_id), 0) AS head FROM stored_events) AS log
WHERE projections.name = ANY ($1) ORDER BY projections.name
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """The status of one view. `lag`: events that it has not applied yet; `failure`: why it has stopped."""

    name: str
    position: int
    lag: int
    moved_at: datetime
    rebuilt_at: datetime | None
    failure: str | None
    followed_by: str | None
    being_built: bool


async def status_of(pool: asyncpg.Pool | asyncpg.Connection, views: Sequence[View]) -> list[ViewStatus]:
    """Return the status of these views, ordered by name."""
    return [ViewStatus(**row) for row in await pool.fetch(STATUS, [view.name for view in views])]


async def update_view_metrics(pool: asyncpg.Pool, views: Sequence[View]) -> None:
    """Set the gauges of these views, whichever process keeps the views up to date."""
    for status in await status_of(pool, views):
        view_lag.labels(status.name).set(status.lag)
        view_failed.labels(status.name).set(status.failure is not None)


async def require_live(pool: asyncpg.Pool | asyncpg.Connection, views: Sequence[View]) -> None:
    """Raise ViewStopped unless all of these views go on; the text is that of the first one that stopped."""
    for status in await status_of(pool, views):
        if status.failure is not None:
            raise ViewStopped(status.failure)


async def wait_until_at(pool: asyncpg.Pool, view: View, position: int) -> None:
    """Wait until the view has applied all events up to `position`. Raises ViewBehind after MOST_SECONDS."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + MOST_SECONDS
    while await pool.fetchval(VIEW_POSITION, view.name) < position:
        if loop.time() > deadline:
            raise ViewBehind
        await asyncio.sleep(LOOK_EVERY)


FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""Pauses before a view that failed is tried again, by this process or by another one."""
BETWEEN_PASSES_SECONDS = 0.05
"""What happens meanwhile is one pass; under load that spares most of the work."""
MOST_INTERRUPTIONS = 3
"""Errors in a row that may pass by themselves. A view that meets more of them has failed."""
POSITION = "SELECT position, failure FROM projections WHERE name = $1 FOR UPDATE"
SEEN = f"""
SELECT name, position, failure, {CURRENT_VERSION} AS version,
       (SELECT coalesce(max(notification_id), 0) FROM stored_events) AS head
  FROM projections WHERE name = ANY ($1) ORDER BY name
"""  # noqa: S608 - constants only
POSITIONS = f"{SEEN} FOR UPDATE"
VERSION = f"SELECT {CURRENT_VERSION} FROM projections WHERE name = $1"  # noqa: S608 - constants only
# Rows of an older fold came in (an older release runs beside this one), so the view is as old as they are.
MOVE = f"""
UPDATE projections SET position = $2, version = least({CURRENT_VERSION}, $3),
    moved_at = statement_timestamp(), version_at = statement_timestamp(), failure = NULL WHERE name = $1
"""  # noqa: S608 - constants only
FAIL = "UPDATE projections SET failure = $2 WHERE name = $1"

view_lag = Gauge("view_lag_events", "Events in the log after the view's position", ["view"])
view_failed = Gauge("view_failed", "1 while the view has stopped", ["view"])


class LiveViews:
    """Keeps all views of a service up to date in one pass. Of several processes the one with the lease works.

    A view that fails, holds rows of an older fold, or is far behind falls out: it is brought up by itself
    while the others go on, and comes back.
    """

    def __init__(
        self, pool: asyncpg.Pool, log: EventLog, source: Source, views: Sequence[View], leases: Leases
    ) -> None:
        self._pool = pool
        self._log = log
        self._views = {view.name: view for view in views}
        self._alone = {view.name: LiveView(pool, log, source, view) for view in views}
        self._together = Together(make_mapper(), source.master_keys)
        self._leases = leases
        self._apart: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow the log until cancelled."""
        await lead(self._leases, "views", self._follow)

    async def _follow(self, lease: Lease) -> None:
        try:
            position = await self._step_or_each_alone()
            while True:
                await self._leases.keep(lease)
                await asyncio.sleep(BETWEEN_PASSES_SECONDS)
                if await self._wait(position, lease.seconds / 2) or not await self._are_at(position):
                    position = await self._step_or_each_alone()
        finally:
            apart, self._apart = list(self._apart.values()), {}
            await end(apart, limits.LAST_WORK)

    async def _wait(self, position: int, timeout: float) -> bool:
        """Return whether there is an event after `position`, or a view that can come back, in this time."""
        news = asyncio.ensure_future(self._log.wait_beyond(position, timeout))
        try:
            await asyncio.wait([news, *self._apart.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        back = [name for name, bringing_up in self._apart.items() if bringing_up.done()]
        for name in back:
            self._apart.pop(name).result()
        return bool(back) or (news.done() and news.result())

    async def _are_at(self, position: int) -> bool:
        """Return whether the views are at the end of the log still: one statement, and no transaction."""
        names = [name for name in self._views if name not in self._apart]
        try:
            rows = await self._pool.fetch(SEEN, names)
        except (LogUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False
        return all(self._keeps(row, position) and position == row["position"] == row["head"] for row in rows)

    async def _step_or_each_alone(self) -> int:
        try:
            return await self.step()
        except Exception as error:
            raise_if_cancelled()
            log.warning("views.interrupted", error=type(error).__name__)
        positions = [0]
        for name in self._views.keys() - self._apart.keys():
            try:
                positions.append(await self._alone[name].step_and_report())
            except ViewFailed as failed:  # it falls out at the next step
                log.warning("view.failed", reason=str(failed))
        return max(positions)

    async def step(self) -> int:
        """Apply the next events, at most STEP, to the views that keep pace; return the position of these.

        Raises whatever one of the views fails with; nothing was changed then.
        """
        names = [name for name in self._views if name not in self._apart]
        async with self._pool.acquire() as connection, connection.transaction():
            # The locks protect the rows: a leader that was paused reads the positions of its successor.
            rows = await connection.fetch(POSITIONS, names)
            pace = max((row["position"] for row in rows), default=0)
            together = [row for row in rows if self._keeps(row, pace)]
            if not together:
                to_position = pace = max((row["head"] for row in rows), default=0)
            else:
                head, after = together[0]["head"], min(row["position"] for row in together)
                to_position = max(pace, min(pace + STEP, head))
                if to_position > after:
                    views = [self._views[row["name"]] for row in together]
                    await self._together.catch_up(connection, views, after, to_position)
        for row in together:
            view_lag.labels(row["name"]).set(head - to_position)
            view_failed.labels(row["name"]).set(0)
        for row in rows:
            if row not in together:
                self._fall_out(row["name"])
        return to_position

    def _keeps(self, row: asyncpg.Record, pace: int) -> bool:
        """Return whether a view can go on with the others."""
        is_current = row["version"] >= self._views[row["name"]].version
        return is_current and row["failure"] is None and row["position"] >= pace - STEP

    def _fall_out(self, name: str) -> None:
        self._apart[name] = asyncio.create_task(
            keep_trying(
                self._alone[name].come_back,
                action="view.failed",
                on=(ViewFailed, LogUnavailable, asyncpg.PostgresError, asyncpg.InterfaceError, OSError),
                first=FIRST_PAUSE_SECONDS,
                longest=LONGEST_PAUSE_SECONDS,
            ),
            name=f"view {name}",
        )


class LiveView:
    """One view that is brought up to date by itself. Any number of processes may do so at once."""

    def __init__(self, pool: asyncpg.Pool, log: EventLog, source: Source, view: View) -> None:
        self._pool = pool
        self._log = log
        self._source = source
        self._view = view
        self._folder = source.folder(view)
        self._name = view.name
        self._interruptions = 0

    async def come_back(self) -> None:
        """Bring the view near the end of the log. Raises ViewFailed, whose text is stored and logged."""
        await self._renew()
        while await self.step_and_report() + STEP <= await self._log.position():
            pass

    async def step_and_report(self) -> int:
        """Apply the next events, as `step`. What stops the view is stored as its failure, and raised."""
        async with self._reported():
            position = await self.step()
        view_failed.labels(self._name).set(0)
        self._interruptions = 0
        return position

    async def _renew(self) -> None:
        """Rebuild the view when rows in it are of an older version of its fold.

        Another process that rebuilds it does that for all.
        """
        async with self._reported():
            if await self._pool.fetchval(VERSION, self._name) >= self._view.version:
                return
            with suppress(RebuildRunning):
                done = await rebuild(self._source, self._view, lambda _: None)
                log.info("view.rebuilt", view=self._name, version=self._view.version, events=done.events)

    @asynccontextmanager
    async def _reported(self) -> AsyncIterator[None]:
        """Make what stops the view inside its failure: in the gauge, its status and (raised) the log."""
        try:
            yield
        except Exception as error:
            failure = await self._failure(error)
            view_failed.labels(self._name).set(1)
            await self._pool.execute(FAIL, self._name, str(failure))
            raise failure from error

    async def _failure(self, error: Exception) -> ViewFailed:
        """Return why the view cannot go on; apply the events before the one that failed.

        Raises the error itself when it may pass by itself, but not time and again.
        """
        while isinstance(error, FoldFailed):
            before, error_of_event = error.position - 1, error
            try:
                while await self.step(before) < before:
                    pass
            except FoldFailed as earlier:
                error = earlier
            else:
                return error_of_event
        if isinstance(error, LogUnavailable) or is_transient(error):
            self._interruptions += 1
            if self._interruptions <= MOST_INTERRUPTIONS:
                raise error
        return error if isinstance(error, ViewFailed) else ViewFailed(self._name, type(error).__name__)

    async def step(self, until: int | None = None) -> int:
        """Apply the next events, at most STEP and none after `until`; return the view's position afterwards.

        Raises FoldFailed, ViewFailed; nothing was changed then.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            # The lock protects the rows: a leader that was paused reads the position of its successor.
            [row] = await connection.fetch(POSITION, self._name)
            position: int = row["position"]
            head = await head_of(connection)
            to_position = max(position, min(position + STEP, head if until is None else until))
            if to_position > position:
                await catch_up(connection, self._folder, "", position, to_position)
            if to_position > position or (row["failure"] is not None and until is None):
                await connection.execute(MOVE, self._name, to_position, self._view.version)
        view_lag.labels(self._name).set(head - to_position)
        return to_position
