"""Read the event log: committed events only, without a cache and without lag."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from shared.event_log.errors import LogCorrupt, LogUnavailable
from shared.event_log.notifier import POSITION
from shared.event_log.types import Metadata, RecordedEvent
from shared.platform.asked_together import AskedTogether
from shared.platform.postgres import fitting, is_transient

COLUMNS = """notification_id, originator_id, originator_version, topic, state, event_id, recorded_at,
    caused_by, correlation_id, causation_id"""
# Look-ups per event, and no joins: a join may read all keys for a page of events. Nor EXISTS: the planner may
# make a table of all erasures for it.
FOR_USE = f"""{COLUMNS},
    (SELECT wrapped FROM data_keys WHERE subject_id = originator_id) AS wrapped_key,
    (SELECT subject_id FROM erasures WHERE subject_id = originator_id) IS NOT NULL AS erased"""  # noqa: S608 - constants only
STREAM = f"""
SELECT {FOR_USE} FROM stored_events
WHERE originator_id = $1 AND originator_version > $2 ORDER BY originator_version
"""  # noqa: S608 - constants only
# The same for many streams. OFFSET 0: each stream is a step through the index, whatever the planner expects.
STREAMS = f"""
SELECT event.*, wanted.number
  FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS wanted (stream_id, version, number)
 CROSS JOIN LATERAL (
     SELECT {FOR_USE} FROM stored_events
      WHERE originator_id = wanted.stream_id AND originator_version > wanted.version
      ORDER BY originator_version OFFSET 0
 ) AS event
 ORDER BY wanted.number, event.originator_version
"""  # noqa: S608 - constants only
BEYOND = f"""
SELECT {FOR_USE} FROM stored_events WHERE notification_id > $1 ORDER BY notification_id LIMIT $2
"""  # noqa: S608 - constants only
ERASURES = "SELECT subject_id FROM erasures ORDER BY erased_at, subject_id"
EXISTING = """
SELECT wanted.id FROM unnest($1::uuid[]) AS wanted (id)
 WHERE EXISTS (SELECT FROM stored_events WHERE originator_id = wanted.id)
"""
LOG_ID = "SELECT log_id FROM event_log_identity"
MOST_STREAMS = 64


class Reader:
    """Reads the log. Every method raises LogUnavailable when the database cannot be reached."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._together = AskedTogether(self._streams, most=MOST_STREAMS)

    async def stream(self, stream_id: UUID, *, after_version: int = 0) -> list[RecordedEvent]:
        """See `EventLog.stream`. Streams that are asked for at the same time are read by one statement."""
        return await self._together.ask((stream_id, after_version))

    async def _streams(self, wanted: Sequence[tuple[UUID, int]]) -> Sequence[list[RecordedEvent]]:
        if len(wanted) == 1:  # the driver needs ten times as long for an array as for a value
            return [[recorded_event(row) for row in await self._rows(STREAM, *wanted[0])]]
        streams: list[list[RecordedEvent]] = [[] for _ in wanted]
        for row in await self._rows(STREAMS, *map(list, zip(*wanted, strict=True))):
            streams[row["number"] - 1].append(recorded_event(row))
        return streams

    async def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """See `EventLog.read`. Raises LogCorrupt when a position is missing, so that no event is skipped."""
        events = [recorded_event(row) for row in await self._rows(BEYOND, after, limit)]
        if events and events[-1].position != max(after, 0) + len(events):
            raise LogCorrupt(f"a position is missing between {after} and {events[-1].position}")
        return events

    async def erasures(self) -> Sequence[UUID]:
        """See `EventLog.erasures`."""
        return [row["subject_id"] for row in await self._rows(ERASURES)]

    async def existing(self, stream_ids: Collection[UUID]) -> set[UUID]:
        """See `EventLog.existing`."""
        return {row["id"] for row in await self._rows(EXISTING, list(stream_ids))}

    async def position(self) -> int:
        """See `EventLog.position`."""
        return int((await self._rows(POSITION))[0][0])

    async def log_id(self) -> UUID:
        """Return the id of this log."""
        return UUID(str((await self._rows(LOG_ID))[0][0]))

    async def _rows(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        try:
            return await self._pool.fetch(statement, *arguments)
        except Exception as error:
            if is_transient(error):
                raise LogUnavailable(type(error).__name__) from error
            raise


def recorded_event(row: asyncpg.Record) -> RecordedEvent:
    """Return the event of a row that has all of `COLUMNS`, and perhaps those of `FOR_USE`."""
    position, stream_id, version, event_type, state, event_id, recorded_at, *rest = row
    metadata, for_use = Metadata(*rest[:3]), rest[3:5]
    return RecordedEvent(
        position, stream_id, version, event_type, state, event_id, recorded_at, metadata, *for_use
    )


FIRST = f"""
SELECT {COLUMNS} FROM stored_events WHERE originator_id = ANY ($1) AND originator_version = 1
"""  # noqa: S608 - constants only


async def first_events(pool: asyncpg.Pool, stream_ids: Collection[UUID]) -> list[RecordedEvent]:
    """Return the first event of each of these streams, without keys."""
    return [recorded_event(row) for row in await pool.fetch(FIRST, list(stream_ids))]


LISTED = (
    ("text", "$2 IN (topic, split_part(topic, '.', 2))"),
    ("uuid", "originator_id = $3"),
    ("bigint", "notification_id > $4"),
)
LIST = f"SELECT {COLUMNS} FROM stored_events WHERE {{listed}} ORDER BY notification_id {{order}} LIMIT $1"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Listed:
    """Which events to list. `after` None: the newest; `topic`: with or without the name of the service."""

    limit: int
    after: int | None = None
    topic: str | None = None
    stream: UUID | None = None


async def list_events(pool: asyncpg.Pool, listed: Listed) -> list[RecordedEvent]:
    """Return the events that were asked for, in the order of the log."""
    values = (listed.topic, listed.stream, listed.after)
    newest_first = listed.after is None
    query = LIST.format(listed=fitting(LISTED, values, first=2), order="DESC" if newest_first else "ASC")
    events = [recorded_event(row) for row in await pool.fetch(query, listed.limit, *values)]
    return events[::-1] if newest_first else events
