"""The state of every guest's link: linked, too late (I6), refused (I2, I3) or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
from eventsourcing.utils import get_topic

from identity.domain.guest_link import GuestLink, Linked, Refused
from shared.event_log import DataKey
from shared.platform.postgres import fitting
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable

LINK_TOPICS = frozenset(get_topic(kind) for kind in GuestLink.Event.__subclasses__())


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """Return the row of one guest."""
    link: Any = None
    for recorded in events:
        link = recorded.event.mutate(link)
    guest_status = link.guest_status
    return [[(link.id, link.organisation, guest_status.status.value, guest_status.ends_on, *_answer(link))]]


def _answer(link: GuestLink) -> tuple[str, str | None, Any, str | None]:
    match link.answer:
        case Linked(account_id, actor_id, too_late):
            return ("too_late" if too_late else "linked", account_id, actor_id, None)
        case Refused(account_id, reason):
            return ("refused", account_id, None, reason.value)
        case None:
            return ("none", None, None, None)


VIEW = View(
    name="links",
    version=2,  # the day on which an expired guest ended
    about="the state of every guest's link",
    topics=LINK_TOPICS,
    tables=(
        ViewTable(
            name="links",
            columns="""
                organisation text NOT NULL, status text NOT NULL, ends_on date, state text NOT NULL,
                account_id text, actor_id uuid, reason text
            """,
            indexes=("(organisation, state)", "(account_id)"),
        ),
    ),
    fold=fold,
    decrypts=True,
)

LISTED = (("text", "organisation = $1"), ("text", "state = $2"))
LIST = """
SELECT stream_id AS guest_id, organisation, state, reason, account_id, actor_id, status, ends_on FROM links
 WHERE {listed} ORDER BY organisation, stream_id LIMIT $3
"""


async def list_links(
    pool: asyncpg.Pool, organisation: str | None, state: str | None, limit: int
) -> list[asyncpg.Record]:
    """List at most `limit` links, of one organisation and in one state if these are not None."""
    query = LIST.format(listed=fitting(LISTED, (organisation, state)))
    found: list[asyncpg.Record] = await pool.fetch(query, organisation, state, limit)
    return found
