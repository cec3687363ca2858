"""The event log in PostgreSQL (ADR 0001, ADR 0012)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Self
from uuid import UUID

from shared.event_log.append import Appender, Command, CommandQueue, write_rows
from shared.event_log.errors import LogUnavailable
from shared.event_log.notifier import Listener, Notifier, tail
from shared.event_log.reading import Reader
from shared.event_log.types import NewEvent, RecordedEvent, SideRow
from shared.platform import limits
from shared.platform.lifecycle import end
from shared.platform.postgres import HeldConnection, Pool

APPENDERS = 2


class PostgresEventLog:
    """An `EventLog`, as an async context manager: `async with PostgresEventLog(pool) as log`.

    On exit it writes the commands that wait, for `limits.LAST_WRITES` at most. Then it gives its three
    connections back to the pool. Close the pool only after that.
    """

    log_id: UUID

    def __init__(self, pool: Pool) -> None:
        self._reader = Reader(pool)
        self._notifier = Notifier()
        self._queue = CommandQueue()
        self._writing = [HeldConnection(pool) for _ in range(APPENDERS)]
        self._listener = Listener(HeldConnection(pool), self._notifier, self._reader.position)

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
        await asyncio.wait(self._appending, timeout=limits.LAST_WRITES)
        await end([self._listening, *self._appending], limits.CLOSE)
        await asyncio.gather(*(connection.give_back() for connection in self._writing))

    async def append(self, events: Sequence[NewEvent], side_rows: Sequence[SideRow] = ()) -> int:
        """See `EventLog.append`. If the caller is cancelled, its events may still be written."""
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limits.DATABASE):  # with the time that it waits for others
                return await self._queue.submit(Command(events, write_rows(side_rows), answer))
        except TimeoutError:
            raise LogUnavailable("no answer in time") from None

    async def stream(self, stream_id: UUID, *, after_version: int = 0) -> list[RecordedEvent]:
        """See `EventLog.stream`."""
        return await self._reader.stream(stream_id, after_version=after_version)

    async def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """See `EventLog.read`."""
        return await self._reader.read(after, limit)

    async def erasures(self) -> Sequence[UUID]:
        """See `EventLog.erasures`."""
        return await self._reader.erasures()

    async def existing(self, stream_ids: Collection[UUID]) -> set[UUID]:
        """See `EventLog.existing`."""
        return await self._reader.existing(stream_ids)

    async def position(self) -> int:
        """See `EventLog.position`."""
        return await self._reader.position()

    def tail(self, after: int, *, batch: int = 500) -> AsyncIterator[list[RecordedEvent]]:
        """See `EventLog.tail`."""
        return tail(self._reader, self._notifier, after, batch)

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """See `EventLog.wait_beyond`."""
        return await self._notifier.wait_beyond(position, timeout)
