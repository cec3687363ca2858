"""Who did what when (R20, R21): a line for each event of a guest, without anything personal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from registration.domain.events import GuestEvent
from registration.read_models.guest_events import GUEST_TOPICS
from shared.event_log import DataKey
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable
from shared.projections.live import wait_until_at

NOT_TOLD = frozenset({"originator_id", "originator_version", "originator_topic", "timestamp", "person_ref"})


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """One row for each event; `what` is the event's topic without the service's name."""
    return [[_row(happened) for happened in events]]


def _row(happened: RecordedDomainEvent) -> tuple[Any, ...]:
    event = happened.event
    what = event.TOPIC.partition(".")[2]
    return (
        *(event.originator_id, happened.version, happened.position),
        *(happened.recorded_at, happened.caused_by, what, orjson.dumps(told_of(event)).decode()),
    )


def told_of(event: GuestEvent) -> dict[str, Any]:
    """The fields of an event that anybody at the counter may see: never what is sealed."""
    return {
        name: value
        for name, value in vars(event).items()
        if name not in NOT_TOLD and not name.startswith("sealed_") and value is not None
    }


VIEW = View(
    name="history",
    about="who did what when, for each guest",
    topics=GUEST_TOPICS,
    tables=(
        ViewTable(
            name="guest_history",
            columns="""
                version bigint NOT NULL, position bigint NOT NULL, at timestamptz NOT NULL, by text NOT NULL,
                what text NOT NULL, details jsonb NOT NULL
            """,
            key="stream_id, version",
        ),
    ),
    fold=fold,
)


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One thing that happened to a guest."""

    version: int
    position: int
    at: datetime
    by: str
    what: str
    details: dict[str, Any]


OF_GUEST = """
SELECT version, position, at, by, what, details FROM guest_history WHERE stream_id = $1 ORDER BY version
"""


class GuestHistory:
    """Reads the view."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(self, guest_id: UUID, after_position: int) -> list[HistoryLine]:
        """All that happened to a guest up to a position at least, oldest first. Raises ViewBehind."""
        await wait_until_at(self._pool, VIEW, after_position)
        rows = await self._pool.fetch(OF_GUEST, guest_id)
        return [HistoryLine(**{**row, "details": orjson.loads(row["details"])}) for row in rows]
