"""Guests whose registration ended and whose personal data is still kept (R19)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import asyncpg

from registration.domain.guest_state import ended_on
from registration.read_models.guest_events import GUEST_TOPICS, fold_guest
from shared.event_log import DataKey
from shared.platform import limits
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """Return the guest with the day on which its registration ended; no row if it did not end."""
    day = ended_on(fold_guest(events))
    return [[] if day is None else [(events[0].event.originator_id, day)]]


VIEW = View(
    name="ended_guests",
    about="guests whose registration ended, to be erased after the retention period",
    topics=GUEST_TOPICS,
    tables=(
        ViewTable(name="ended_guests", columns="ended_on date NOT NULL", indexes=("(ended_on, stream_id)",)),
    ),
    fold=fold,
)

LONGEST_ENDED = """
SELECT stream_id, ended_on FROM ended_guests
WHERE ended_on < $1 AND (ended_on, stream_id) > ($2, $3)
ORDER BY ended_on, stream_id LIMIT $4
"""
FIRST = (date.min, UUID(int=0))
PAGE = 500


class EndedGuests:
    """See `application.apply_retention.EndedGuests`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def before(self, day: date, after: tuple[date, UUID] = FIRST) -> Sequence[tuple[date, UUID]]:
        """See `EndedGuests.before`."""
        rows = await self._pool.fetch(LONGEST_ENDED, day, *after, PAGE, timeout=limits.BATCH)
        return [(row["ended_on"], row["stream_id"]) for row in rows]
