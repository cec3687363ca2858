"""The contribution rows of all guests (R15), for accounts and reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import asyncpg

from registration.domain.contributions import Contributions, evolve_contributions
from registration.read_models.guest_events import GUEST_TOPICS
from shared.event_log import DataKey
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """Return the rows of one guest, numbered from the oldest."""
    contributions = Contributions()
    for recorded in events:
        contributions = evolve_contributions(contributions, recorded.event)
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
    about="contribution rows of all guests, for bookkeeping and reports",
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

# An empty row (its end lies before its begin) ran on no day.
RUNNING_ON = """
SELECT branch, subscription_code, status, count(DISTINCT stream_id) AS guests
  FROM contributions
 WHERE organisation = $1 AND begins_on <= $2 AND (ends_on IS NULL OR ends_on >= $2)
 GROUP BY branch, subscription_code, status ORDER BY branch, subscription_code, status DESC
"""


async def count_running_on(pool: asyncpg.Pool, organisation: str, day: date) -> list[asyncpg.Record]:
    """Count the guests of an organisation whose row ran on a day.

    Returns branch, subscription_code, status and guests, by branch.
    """
    found: list[asyncpg.Record] = await pool.fetch(RUNNING_ON, organisation, day)
    return found
