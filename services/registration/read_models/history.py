"""The history of a guest: one line per event, without personal data (R20, R21)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from registration.read_models.guest_events import GUEST_TOPICS
from shared.event_log import SEALED, DataKey, DataKeys
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable
from shared.projections.live import wait_until_at

NOT_SHOWN = frozenset(
    {"originator_id", "originator_version", "originator_topic", "timestamp", "person_ref", SEALED}
)


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """Return one row per event. `what` is the event's topic without the name of the service."""
    return [[_row(recorded) for recorded in events]]


def _row(recorded: RecordedDomainEvent) -> tuple[Any, ...]:
    event = recorded.event
    what = event.TOPIC.partition(".")[2]
    return (
        *(event.originator_id, recorded.version, recorded.position),
        *(recorded.recorded_at, recorded.caused_by, what, orjson.dumps(_shown(vars(event))).decode()),
        vars(event).get(SEALED),
    )


def _shown(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an event that every clerk may see, without encrypted fields."""
    return {
        name: value
        for name, value in fields.items()
        if name not in NOT_SHOWN and not name.startswith("sealed_") and value is not None
    }


VIEW = View(
    name="history",
    about="the history of each guest: who did what, and when",
    topics=GUEST_TOPICS,
    tables=(
        ViewTable(
            name="guest_history",
            columns="""
                version bigint NOT NULL, position bigint NOT NULL, at timestamptz NOT NULL, by text NOT NULL,
                what text NOT NULL, details jsonb NOT NULL, sealed bytea
            """,
            key="stream_id, version",
        ),
    ),
    fold=fold,
)


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One event of a guest. `by`: who caused it."""

    version: int
    position: int
    at: datetime
    by: str
    what: str
    details: dict[str, Any]


OF_GUEST = """
SELECT version, position, at, by, what, details, sealed FROM guest_history
 WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3
"""


class GuestHistory:
    """Reads the view. It holds what an erasure must remove sealed, under the guest's data key."""

    def __init__(self, pool: asyncpg.Pool, data_keys: DataKeys) -> None:
        self._pool = pool
        self._data_keys = data_keys

    async def of(
        self, guest_id: UUID, after_position: int, *, after_version: int = 0, limit: int | None = None
    ) -> list[HistoryLine]:
        """Return lines, oldest first, after the view has reached a position. Raises ViewBehind.

        `after_version`: the version of the line before the first one. `limit` None: all lines.
        """
        await wait_until_at(self._pool, VIEW, after_position)
        rows = await self._pool.fetch(OF_GUEST, guest_id, after_version, limit)
        key = await self._data_keys.get(guest_id)
        return [_line(dict(row), key) for row in rows]


def _line(row: dict[str, Any], key: DataKey | None) -> HistoryLine:
    sealed = row.pop(SEALED)
    opened = _shown(key.decrypt(sealed)) if key and sealed else {}
    return HistoryLine(**{**row, "details": orjson.loads(row["details"]) | opened})
