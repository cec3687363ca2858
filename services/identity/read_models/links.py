"""What became of every guest's link."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventsourcing.utils import get_topic

from identity.domain.guest_link import GuestLink, Linked, Refused
from shared.event_log import DataKey
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable

LINK_TOPICS = frozenset(get_topic(kind) for kind in GuestLink.Event.__subclasses__())


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """One row for each guest."""
    link: Any = None
    for happened in events:
        link = happened.event.mutate(link)
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
    about="what became of every guest's link",
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
)
