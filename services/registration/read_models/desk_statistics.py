"""What happened at the desks per day, for the desk overview (`guest_directory.DeskOverviews`).

There is one row per guest and day, so that one guest can be folded again without the others.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date

from registration.domain import events as domain_events
from registration.read_models.guest_events import GUEST_TOPICS
from shared.event_log import DataKey
from shared.kernel.amsterdam import day_of
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable

COUNTED = {
    domain_events.GuestRegistered.TOPIC: "registered",
    domain_events.GuestReregistered.TOPIC: "reregistered",
    domain_events.SubscriptionExpired.TOPIC: "expired",
    domain_events.GuestSuspended.TOPIC: "suspended",
    domain_events.GuestDeregistered.TOPIC: "deregistered",
    domain_events.LoginAccountLinkConfirmed.TOPIC: "linked",
}
COLUMNS = tuple(COUNTED.values())


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """Count the events of the guest per day, for the branch where it was last registered."""
    days: dict[date, Counter[str]] = defaultdict(Counter)
    branches: dict[date, tuple[str, str]] = {}
    at = ("", "")
    for recorded in events:
        event = recorded.event
        if isinstance(event, domain_events.GuestRegistered | domain_events.GuestImported):
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
