"""Rebuilding a view beside the live one, and switching in one short transaction (A7).

Readers see the old view until the switch and the new one from then on; a crash at any moment leaves the old
one in place, and the next rebuild clears away what was left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from shared.projections.building import Progress, Source, build, session_name
from shared.projections.errors import RebuildRunning
from shared.projections.folding import Folder
from shared.projections.tables import STEP, bring_up, head_of
from shared.projections.view import View

NEW, OLD = "__rebuilt", "__replaced"
WAIT_FOR_OTHERS = "10s"
# Whoever waits for an exclusive lock makes all readers behind him wait: so only this long, and then again.
WAIT_FOR_READERS = "50ms"
BETWEEN_TRIES = 0.05
TRIES = 200

END_LEFT_SESSIONS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user
AND application_name = $1 AND pid <> pg_backend_pid()
"""
LOCK_POSITION = "SELECT position FROM projections WHERE name = $1 FOR UPDATE"
SWITCHED = """
UPDATE projections SET position = $2, failure = NULL,
    moved_at = clock_timestamp(), rebuilt_at = clock_timestamp() WHERE name = $1
"""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How a rebuild went; `readers_waited` is the longest that a reader can have waited for the switch."""

    view: str
    events: int
    position: int
    seconds: float
    readers_waited: float


async def rebuild(source: Source, view: View, progress: Progress) -> Rebuilt:
    """Build the view anew and put it in the place of the live one. Raises FoldFailed, RebuildRunning."""
    began = time.perf_counter()
    async with alone(source, view, NEW, OLD) as connection:
        built = await build(connection, source, view, NEW, progress)
        position, waited = await _switch(connection, source.folder(view), built.upto)
    return Rebuilt(view.name, built.events, position, time.perf_counter() - began, waited)


@asynccontextmanager
async def alone(source: Source, view: View, *suffixes: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection for the one process that builds this view; no table with a suffix is left around it."""
    connection = await source.connect(view)
    try:
        await connection.execute(f"SET lock_timeout = '{WAIT_FOR_OTHERS}'")
        try:
            await connection.execute("SELECT pg_advisory_lock(hashtext($1))", session_name(view))
        except asyncpg.LockNotAvailableError:
            raise RebuildRunning(RebuildRunning.__doc__) from None
        await _clear_away(connection, view, suffixes)
        try:
            yield connection
        finally:
            if not connection.is_closed():
                await _clear_away(connection, view, suffixes)
    finally:
        await connection.close()


async def _clear_away(connection: asyncpg.Connection, view: View, suffixes: tuple[str, ...]) -> None:
    """Also what a killed process left; the sessions of its parts may still be writing."""
    await connection.execute(END_LEFT_SESSIONS, session_name(view))
    for table in view.tables:
        for suffix in suffixes:
            await connection.execute(f"DROP TABLE IF EXISTS {table.name}{suffix}")


async def _switch(connection: asyncpg.Connection, folder: Folder, built_to: int) -> tuple[int, float]:
    """Catch up with the log, rename; the position then, and how long readers can have waited."""
    while (head := await head_of(connection)) - built_to > STEP:
        async with connection.transaction():
            await bring_up(connection, folder, NEW, built_to, head)
        built_to = head
    for _ in range(TRIES):
        try:
            return await _rename(connection, folder, built_to)
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(BETWEEN_TRIES)
    raise RebuildRunning("Somebody holds the view's tables locked: find the session that does, and end it.")


async def _rename(connection: asyncpg.Connection, folder: Folder, built_to: int) -> tuple[int, float]:
    view = folder.view
    names = ", ".join(table.name for table in view.tables)
    async with connection.transaction():
        # From here the live view cannot move, so the tail is the last one.
        await connection.execute(LOCK_POSITION, view.name)
        position = await head_of(connection)
        await bring_up(connection, folder, NEW, built_to, position)
        await connection.execute(SWITCHED, view.name, position)
        await connection.execute(f"SET LOCAL lock_timeout = '{WAIT_FOR_READERS}'")
        began = time.perf_counter()
        await connection.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        for table in view.tables:
            await connection.execute(f"ALTER TABLE {table.name} RENAME TO {table.name}{OLD}")
            await connection.execute(f"ALTER TABLE {table.name}{NEW} RENAME TO {table.name}")
    return position, time.perf_counter() - began
