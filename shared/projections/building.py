"""Filling new tables of a view from the log: in parallel parts, by COPY, indexes at the end (A7)."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from uuid import UUID

import asyncpg

from shared.event_log import MasterKeys, make_mapper
from shared.postgres import SERVER_SETTINGS
from shared.projections.folding import Folder
from shared.projections.tables import copy_rows, head_of
from shared.projections.view import View

COUNT = "SELECT count(*) FROM stored_events WHERE topic = ANY ($1)"
SMALL_LOG = 20_000  # events
PARTS = 64  # a power of two; more than cores, so that all are busy to the end and progress is smooth
Progress = Callable[[int], None]
"""Told how many more events are folded."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a view is built from and to: the address of the database, and the keys that unwrap data keys."""

    url: str = field(repr=False)  # it holds a password
    master_keys: MasterKeys = field(repr=False)

    def folder(self, view: View) -> Folder:
        """What folds that view's streams."""
        return Folder(view, make_mapper(), self.master_keys)

    async def connect(self, view: View) -> asyncpg.Connection:
        """A connection by whose name others see what it is for.

        The server looks after the client every second: a session must not go on for one that was killed.
        """
        settings = SERVER_SETTINGS | {
            "application_name": session_name(view),
            "client_connection_check_interval": "1s",
        }
        return await asyncpg.connect(self.url, server_settings=settings)

    async def events_of(self, view: View) -> int:
        """How many events there are to fold."""
        connection = await self.connect(view)
        try:
            count: int = await connection.fetchval(COUNT, list(view.topics))
        finally:
            await connection.close()
        return count


@dataclass(frozen=True, slots=True)
class Built:
    """New tables hold the log up to `upto`, of which `events` were the view's."""

    upto: int
    events: int


@dataclass(frozen=True, slots=True)
class _Part:
    source: Source
    view: View
    suffix: str
    first: UUID
    last: UUID
    upto: int


def session_name(view: View) -> str:
    """How the sessions that build a view are called in `pg_stat_activity`."""
    return f"building {view.name}"


async def build(
    connection: asyncpg.Connection, source: Source, view: View, suffix: str, progress: Progress
) -> Built:
    """Make the view's tables anew under the suffix. Raises FoldFailed."""
    for table in view.tables:
        await connection.execute(table.creation(f"{table.name}{suffix}"))
    upto = await head_of(connection)
    events = await _fill(source, view, suffix, upto, progress)
    for table in view.tables:
        await connection.execute(table.completion(f"{table.name}{suffix}"))
        await connection.execute(f"ANALYZE {table.name}{suffix}")
    return Built(upto, events)


async def _fill(source: Source, view: View, suffix: str, upto: int, progress: Progress) -> int:
    """Processes, not threads: folding is Python's own work, and one interpreter does one thing at a time.

    Starting them takes longer than a small log.
    """
    if upto <= SMALL_LOG:
        events = await _copy_part(_Part(source, view, suffix, UUID(int=0), UUID(int=2**128 - 1), upto))
        progress(events)
        return events
    loop = asyncio.get_running_loop()
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit connections and the event loop
    processes = ProcessPoolExecutor(os.cpu_count(), spawn, initializer=become_a_part)
    try:
        parts = [
            loop.run_in_executor(processes, _fold_part, _Part(source, view, suffix, first, last, upto))
            for first, last in _ranges()
        ]
        for folded in asyncio.as_completed(parts):
            progress(await folded)
        return sum(part.result() for part in parts)
    finally:
        processes.shutdown(wait=False, cancel_futures=True)


def _ranges() -> Iterator[tuple[UUID, UUID]]:
    """Ids are spread evenly, so equal ranges of them have about as many streams."""
    width = 2**128 // PARTS
    for number in range(PARTS):
        yield UUID(int=number * width), UUID(int=(number + 1) * width - 1)


def become_a_part() -> None:
    """Leave Ctrl-C to the process that started us, and never outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _fold_part(part: _Part) -> int:
    """Fold one part of all streams; how many events it had."""
    return asyncio.run(_copy_part(part))


async def _copy_part(part: _Part) -> int:
    folder = part.source.folder(part.view)
    folded = 0
    connection = await part.source.connect(part.view)
    try:
        async with connection.transaction():
            async for events, rows in folder.range(connection, part.first, part.last, part.upto):
                await copy_rows(connection, part.view, part.suffix, rows)
                folded += events
    finally:
        await connection.close()
    return folded
