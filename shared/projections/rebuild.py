"""Rebuild a view beside the live one, and switch in one short transaction (ADR 0009)."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from uuid import UUID

import asyncpg

from shared.event_log import MasterKeys, make_mapper
from shared.platform import limits
from shared.platform.postgres import SERVER_SETTINGS, connect
from shared.platform.roles import OWN_SCHEMA_FIRST, let_reader_read
from shared.projections.folding import STEP, Folder, catch_up, head_of, require_known
from shared.projections.view import RebuildRunning, View

COUNT = "SELECT count(*) FROM stored_events WHERE topic = ANY ($1)"
# Columns that a later release added to the live table, without NOT NULL: this release leaves them empty.
ADDED = """
SELECT quote_ident(attname) || ' ' || format_type(atttypid, atttypmod) AS definition FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL ($2::text[])
ORDER BY attnum
"""
SMALL_LOG = 20_000  # events
PARTS = 64  # a power of two; more than there are cores, so that all stay busy and progress is smooth
Progress = Callable[[int], None]
"""Called with the number of further events that are folded."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a view is built: the URL of the database, and the keys that unwrap data keys."""

    url: str = field(repr=False)  # it holds a password
    master_keys: MasterKeys = field(repr=False)

    def folder(self, view: View) -> Folder:
        """Return the folder of a view."""
        return Folder(view, make_mapper(), self.master_keys)

    async def connect(self, view: View) -> asyncpg.Connection:
        """Open a connection; its application name shows that it builds this view.

        It makes tables in the service's own schema. The server checks every second that the client is still
        there, so that the session of a killed process ends.
        """
        settings = SERVER_SETTINGS | {
            "search_path": OWN_SCHEMA_FIRST,
            "application_name": session_name(view),
            "client_connection_check_interval": "1s",
        }
        return await connect(self.url, settings)

    async def events_of(self, view: View) -> int:
        """Count the events that the view folds."""
        connection = await self.connect(view)
        try:
            count: int = await connection.fetchval(COUNT, list(view.topics), timeout=limits.STATEMENT)
        finally:
            connection.terminate()  # a request waits for this: a silent server must not hold it up
        return count


@dataclass(frozen=True, slots=True)
class Built:
    """New tables that hold the log up to `to_position`, folded from `events` events."""

    to_position: int
    events: int


@dataclass(frozen=True, slots=True)
class _Part:
    source: Source
    view: View
    suffix: str
    first: UUID
    last: UUID
    to_position: int


def session_name(view: View) -> str:
    """Return the application name, in `pg_stat_activity`, of the sessions that build a view."""
    return f"building {view.name}"


async def build(
    connection: asyncpg.Connection, source: Source, view: View, suffix: str, progress: Progress
) -> Built:
    """Create the view's tables under names with a suffix and fill them from the log. Raises FoldFailed."""
    for table in view.tables:
        await connection.execute(table.creation(f"{table.name}{suffix}"))
        for column in await connection.fetch(ADDED, table.name, table.column_names):
            await connection.execute(f"ALTER TABLE {table.name}{suffix} ADD COLUMN {column['definition']}")
    to_position = await head_of(connection)
    await require_known(connection, view, 0, to_position)
    events = await _fill(source, view, suffix, to_position, progress)
    for table in view.tables:
        await connection.execute(table.completion(f"{table.name}{suffix}"))
        await connection.execute(f"ANALYZE {table.name}{suffix}")
        if not view.decrypts:
            await let_reader_read(connection, f"{table.name}{suffix}")
    return Built(to_position, events)


async def _fill(source: Source, view: View, suffix: str, to_position: int, progress: Progress) -> int:
    """Fold all events into the tables, and return their number.

    A large log is folded by several processes; threads would wait for each other in one interpreter. For a
    small log, starting processes would take longer than folding.
    """
    if to_position <= SMALL_LOG:
        events = await _copy_part(_Part(source, view, suffix, UUID(int=0), UUID(int=2**128 - 1), to_position))
        progress(events)
        return events
    loop = asyncio.get_running_loop()
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit connections and the event loop
    processes = ProcessPoolExecutor(os.cpu_count(), spawn, initializer=become_a_part)
    try:
        parts = [
            loop.run_in_executor(processes, _fold_part, _Part(source, view, suffix, first, last, to_position))
            for first, last in _ranges()
        ]
        for folded in asyncio.as_completed(parts):
            progress(await folded)
        return sum(part.result() for part in parts)
    finally:
        processes.shutdown(wait=False, cancel_futures=True)


def _ranges() -> Iterator[tuple[UUID, UUID]]:
    """Yield equal ranges of ids. Ids are spread evenly, so each range has about as many streams."""
    width = 2**128 // PARTS
    for number in range(PARTS):
        yield UUID(int=number * width), UUID(int=(number + 1) * width - 1)


def become_a_part() -> None:
    """Make this process a part of its parent, which handles Ctrl-C: it ends when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _fold_part(part: _Part) -> int:
    """Fold one part of all streams; return the number of its events."""
    return asyncio.run(_copy_part(part))


async def _copy_part(part: _Part) -> int:
    folder = part.source.folder(part.view)
    folded = 0
    connection = await part.source.connect(part.view)
    try:
        async with connection.transaction():
            async for chunk in folder.range(connection, part.first, part.last, part.to_position):
                await folder.insert(connection, part.suffix, chunk)
                folded += chunk.events
    finally:
        await connection.close()
    return folded


NEW, OLD = "__rebuilt", "__replaced"
WAIT_FOR_OTHERS = "10s"
# All readers wait behind a session that waits for an exclusive lock. So it waits this long, then tries again.
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
UPDATE projections SET position = $2, version = $3, failure = NULL,
    moved_at = statement_timestamp(), version_at = statement_timestamp(), rebuilt_at = statement_timestamp()
 WHERE name = $1
"""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The result of a rebuild. `readers_waited`: the longest wait of a reader for the switch, in seconds."""

    view: str
    events: int
    position: int
    seconds: float
    readers_waited: float


async def rebuild(source: Source, view: View, progress: Progress) -> Rebuilt:
    """Build the view again and replace the live one by it. Raises FoldFailed, RebuildRunning."""
    began = time.perf_counter()
    async with alone(source, view, NEW, OLD) as connection:
        built = await build(connection, source, view, NEW, progress)
        position, waited = await _switch(connection, source.folder(view), built.to_position)
    return Rebuilt(view.name, built.events, position, time.perf_counter() - began, waited)


@asynccontextmanager
async def alone(source: Source, view: View, *suffixes: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection; no other process can build this view at the same time.

    Tables with these suffixes are dropped before and after. Raises RebuildRunning.
    """
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
    """Drop the tables with these suffixes; first end the sessions that a killed process left behind."""
    await connection.execute(END_LEFT_SESSIONS, session_name(view))
    for table in view.tables:
        for suffix in suffixes:
            await connection.execute(f"DROP TABLE IF EXISTS {table.name}{suffix}")


async def _switch(connection: asyncpg.Connection, folder: Folder, built_to: int) -> tuple[int, float]:
    """Catch up with the log and rename the tables; return the position and `readers_waited`."""
    while (head := await head_of(connection)) - built_to > STEP:
        async with connection.transaction():
            await catch_up(connection, folder, NEW, built_to, head)
        built_to = head
    for _ in range(TRIES):
        try:
            return await _rename(connection, folder, built_to)
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(BETWEEN_TRIES)
    raise RebuildRunning("Another session keeps the view's tables locked: find that session and end it.")


async def _rename(connection: asyncpg.Connection, folder: Folder, built_to: int) -> tuple[int, float]:
    view = folder.view
    names = ", ".join(table.name for table in view.tables)
    async with connection.transaction():
        # From here the live view cannot move, so this is the last time to catch up.
        await connection.execute(LOCK_POSITION, view.name)
        position = await head_of(connection)
        await catch_up(connection, folder, NEW, built_to, position)
        await connection.execute(SWITCHED, view.name, position, view.version)
        await connection.execute(f"SET LOCAL lock_timeout = '{WAIT_FOR_READERS}'")
        began = time.perf_counter()
        await connection.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        for table in view.tables:
            await connection.execute(f"ALTER TABLE {table.name} RENAME TO {table.name}{OLD}")
            await connection.execute(f"ALTER TABLE {table.name}{NEW} RENAME TO {table.name}")
    return position, time.perf_counter() - began
