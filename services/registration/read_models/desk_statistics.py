"""What happened at the desks: counts per branch and day.

A row per guest and day, so that a guest can be folded again by itself; the question adds them up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import asyncpg

from registration.domain import events as happening
from registration.read_models.guest_events import GUEST_TOPICS
from shared.event_log import DataKey
from shared.kernel.amsterdam import day_of
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable

COUNTED = {
    happening.GuestRegistered.TOPIC: "registered",
    happening.GuestReregistered.TOPIC: "reregistered",
    happening.SubscriptionExpired.TOPIC: "expired",
    happening.GuestSuspended.TOPIC: "suspended",
    happening.GuestDeregistered.TOPIC: "deregistered",
    happening.LoginAccountLinkConfirmed.TOPIC: "linked",
}
COLUMNS = tuple(COUNTED.values())


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """Count what happened to the guest on each day, at the branch where it was registered last."""
    days: dict[date, Counter[str]] = defaultdict(Counter)
    branches: dict[date, tuple[str, str]] = {}
    at = ("", "")
    for happened in events:
        event = happened.event
        if isinstance(event, happening.GuestRegistered):
            at = (event.organisation, event.branch)
        if counted := COUNTED.get(event.TOPIC):
            day = day_of(event.timestamp)
            days[day][counted] += 1
            branches[day] = at
    guest_id = events[0].event.originator_id
    return [
        [
            (guest_id, day, *branches[day], *(counts[column] for column in COLUMNS))
            for day, counts in days.items()
        ]
    ]


VIEW = View(
    name="desk_statistics",
    about="registrations, expiries and links per branch and day",
    topics=GUEST_TOPICS,
    tables=(
        ViewTable(
            name="desk_statistics",
            columns="day date NOT NULL, organisation text NOT NULL, branch text NOT NULL, "
            + ", ".join(f"{column} integer NOT NULL" for column in COLUMNS),
            key="stream_id, day",
            indexes=("(organisation, day, branch)",),
        ),
    ),
    fold=fold,
)


@dataclass(frozen=True, slots=True)
class DeskDay:
    """One branch on one day."""

    branch: str
    day: date
    registered: int
    reregistered: int
    expired: int
    suspended: int
    deregistered: int
    linked: int


PER_DAY = f"""
SELECT branch, day, {", ".join(f"sum({column})::bigint" for column in COLUMNS)} FROM desk_statistics
WHERE organisation = $1 AND day BETWEEN $2 AND $3 GROUP BY branch, day ORDER BY day, branch
"""  # noqa: S608 - constants only


class DeskStatistics:
    """Reads the view."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def between(self, organisation: str, first: date, last: date) -> list[DeskDay]:
        """Days on which anything happened, both ends included; oldest first."""
        return [DeskDay(*row) for row in await self._pool.fetch(PER_DAY, organisation, first, last)]
