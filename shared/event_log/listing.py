"""Reading the log for an operator's eyes: the newest events, or those from a position on."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from shared.event_log.reading import COLUMNS, recorded_event
from shared.event_log.types import RecordedEvent

FITTING = """
($2::text IS NULL OR $2 IN (topic, split_part(topic, '.', 2))) AND ($3::uuid IS NULL OR originator_id = $3)
"""
BEYOND = f"""
SELECT {COLUMNS} FROM stored_events WHERE {FITTING} AND notification_id > $4
 ORDER BY notification_id LIMIT $1
"""  # noqa: S608 - constants only
NEWEST = f"""
SELECT {COLUMNS} FROM stored_events WHERE {FITTING} ORDER BY notification_id DESC LIMIT $1
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class Listed:
    """Which events to list: `after` None, the newest; `topic` with or without the service's name in front."""

    limit: int
    after: int | None = None
    topic: str | None = None
    stream: UUID | None = None


async def list_events(pool: asyncpg.Pool, listed: Listed) -> list[RecordedEvent]:
    """List events, in the order of the log."""
    fitting = (listed.limit, listed.topic, listed.stream)
    if listed.after is not None:
        return [recorded_event(row) for row in await pool.fetch(BEYOND, *fitting, listed.after)]
    return [recorded_event(row) for row in reversed(await pool.fetch(NEWEST, *fitting))]
