"""The event log in PostgreSQL (ADR 0001, ADR 0012)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Self
from uuid import UUID

import asyncpg

from shared.event_log.append import GIVE_UP_SECONDS, Appender, Command, CommandQueue, write_rows
from shared.event_log.notifier import Listener, Notifier, tail, wait_beyond
from shared.event_log.reading import Reader
from shared.event_log.types import NewEvent, RecordedEvent, SideRow
from shared.platform.postgres import HeldConnection

APPENDERS = 2


class PostgresEventLog:
    """An `EventLog`, as an async context manager: `async with PostgresEventLog(pool) as log`.

    On exit it writes the commands that wait, then gives its three connections back to the pool. Close the
    pool only after that.
    """

    log_id: UUID

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._reader = Reader(pool)
        self._notifier = Notifier()
        self._queue = CommandQueue()
        self._writing = [HeldConnection(pool, GIVE_UP_SECONDS) for _ in range(APPENDERS)]
        self._listener = Listener(HeldConnection(pool, GIVE_UP_SECONDS), self._notifier)

    async def __aenter__(self) -> Self:
        self.log_id = await self._reader.log_id()
        self._listening = asyncio.create_task(self._listener.run(), name="event log listener")
        self._appending = [
            asyncio.create_task(Appender(connection, self._queue).run(), name="event log appender")
            for connection in self._writing
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._queue.close()
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening
        await asyncio.gather(*self._appending)
        for connection in self._writing:
            await connection.give_back()

    async def append(self, events: Sequence[NewEvent], side_rows: Sequence[SideRow] = ()) -> int:
        """See `EventLog.append`. If the caller is cancelled, its events may still be written."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        return await self._queue.submit(Command(events, write_rows(side_rows), answer))

    async def stream(self, stream_id: UUID, *, after_version: int = 0) -> list[RecordedEvent]:
        """See `EventLog.stream`."""
        return await self._reader.stream(stream_id, after_version=after_version)

    async def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """See `EventLog.read`."""
        return await self._reader.read(after, limit)

    async def erased(self, subject_ids: Collection[UUID]) -> Collection[UUID]:
        """See `EventLog.erased`."""
        return await self._reader.erased(subject_ids)

    async def erasures(self) -> Sequence[UUID]:
        """See `EventLog.erasures`."""
        return await self._reader.erasures()

    async def position(self) -> int:
        """See `EventLog.position`."""
        return await self._reader.position()

    def tail(self, after: int, *, batch: int = 500) -> AsyncIterator[list[RecordedEvent]]:
        """See `EventLog.tail`."""
        return tail(self._reader, self._notifier, after, batch)

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """See `EventLog.wait_beyond`."""
        return await wait_beyond(self._reader, self._notifier, position, timeout)
