"""The contribution rows of all guests (R15)."""

from __future__ import annotations

from collections.abc import Sequence

from registration.domain.contributions import Contributions, evolve_contributions
from registration.read_models.guest_events import GUEST_TOPICS
from shared.event_log import DataKey
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """Number the rows from the oldest."""
    contributions = Contributions()
    for happened in events:
        contributions = evolve_contributions(contributions, happened.event)
    guest_id = events[0].event.originator_id
    oldest_first = enumerate(reversed(contributions.rows), start=1)
    return [
        [
            (
                *(guest_id, number, row.organisation, row.branch, row.subscription_code),
                *(row.begin, row.end, row.status.value),
            )
            for number, row in oldest_first
        ]
    ]


VIEW = View(
    name="contributions",
    about="contribution rows of all guests, for accounts and reports",
    topics=GUEST_TOPICS,
    tables=(
        ViewTable(
            name="contributions",
            columns="""
                number integer NOT NULL, organisation text NOT NULL, branch text NOT NULL,
                subscription_code text NOT NULL, begins_on date NOT NULL, ends_on date, status text NOT NULL
            """,
            key="stream_id, number",
            indexes=("(organisation, branch, begins_on)",),
        ),
    ),
    fold=fold,
)
