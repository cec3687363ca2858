"""Reads of the log. What is committed is all there is: no cache, no lag."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from shared.event_log.connection import is_transient
from shared.event_log.errors import LogCorrupt, LogUnavailable
from shared.event_log.types import Metadata, RecordedEvent

COLUMNS = """notification_id, originator_id, originator_version, topic, state, event_id, recorded_at,
    caused_by, correlation_id, causation_id"""
STREAM = f"""
SELECT {COLUMNS} FROM stored_events
WHERE originator_id = $1 AND originator_version > $2 ORDER BY originator_version
"""  # noqa: S608 - constants only
STREAMS = f"""
SELECT {COLUMNS} FROM stored_events
WHERE originator_id = ANY ($1) ORDER BY originator_id, originator_version
"""  # noqa: S608 - constants only
BEYOND = f"""
SELECT {COLUMNS} FROM stored_events WHERE notification_id > $1 ORDER BY notification_id LIMIT $2
"""  # noqa: S608 - constants only
ERASED = "SELECT subject_id FROM erasures WHERE subject_id = ANY ($1)"
ERASURES = "SELECT subject_id FROM erasures ORDER BY erased_at, subject_id"
POSITION = "SELECT coalesce(max(notification_id), 0) FROM stored_events"
LOG_ID = "SELECT log_id FROM event_log_identity"


class Reader:
    """Reads events; LogUnavailable when the database cannot be reached."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def stream(self, originator_id: UUID, *, after_version: int = 0) -> list[RecordedEvent]:
        """See `EventLog.stream`."""
        return [recorded_event(row) for row in await self._rows(STREAM, originator_id, after_version)]

    async def streams(self, originator_ids: Collection[UUID]) -> list[RecordedEvent]:
        """See `EventLog.streams`."""
        return [recorded_event(row) for row in await self._rows(STREAMS, list(originator_ids))]

    async def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """See `EventLog.read`. LogCorrupt when a position is missing: then something was skipped."""
        events = [recorded_event(row) for row in await self._rows(BEYOND, after, limit)]
        if events and events[-1].position != max(after, 0) + len(events):
            raise LogCorrupt(f"a position is missing between {after} and {events[-1].position}")
        return events

    async def erased(self, subject_ids: Collection[UUID]) -> Collection[UUID]:
        """See `EventLog.erased`."""
        return {row["subject_id"] for row in await self._rows(ERASED, list(subject_ids))}

    async def erasures(self) -> Sequence[UUID]:
        """See `EventLog.erasures`."""
        return [row["subject_id"] for row in await self._rows(ERASURES)]

    async def position(self) -> int:
        """See `EventLog.position`."""
        return int((await self._rows(POSITION))[0][0])

    async def log_id(self) -> UUID:
        """Read which log this is."""
        return UUID(str((await self._rows(LOG_ID))[0][0]))

    async def _rows(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        try:
            return await self._pool.fetch(statement, *arguments)
        except Exception as error:
            if is_transient(error):
                raise LogUnavailable(type(error).__name__) from error
            raise


def recorded_event(row: asyncpg.Record) -> RecordedEvent:
    """Make the event of a row with all of `COLUMNS`."""
    position, stream, version, topic, state, event_id, recorded_at, caused_by, correlation, causation = row
    metadata = Metadata(caused_by, correlation, causation)
    return RecordedEvent(position, stream, version, topic, state, event_id, recorded_at, metadata)
