"""The guests whose terms the nightly check asks about, by home library (R12)."""

from __future__ import annotations

from collections.abc import Sequence

from registration.domain.term_check import Status
from registration.read_models.guest_events import GUEST_TOPICS, fold_guest
from shared.event_log import DataKey
from shared.kernel.library_card import Isil
from shared.projections import RecordedDomainEvent, Rows, View, ViewTable


def fold(events: Sequence[RecordedDomainEvent], _key: DataKey | None) -> Rows:
    """Return the row of a guest, if its status is one that a term check can change.

    The row holds the encrypted card and details, so the nightly check need not read an unchanged guest's
    stream.
    """
    state = fold_guest(events)
    if state.status not in {Status.VALID, Status.SUSPENDED}:
        return [[]]
    row = (
        *(events[0].event.originator_id, state.organisation, Isil(state.home_isil).base, state.status.value),
        *(state.term.begin, state.term.end, state.term.provisional),
        *(bytes(state.sealed_card), bytes(state.sealed_details)),
    )
    return [[row]]


VIEW = View(
    name="terms_due",
    about="guests for the nightly check, by home library",
    topics=GUEST_TOPICS,
    tables=(
        ViewTable(
            name="terms_due",
            columns="""
                organisation text NOT NULL, home_isil text NOT NULL, status text NOT NULL,
                begins_on date NOT NULL, ends_on date, provisional boolean NOT NULL,
                sealed_card bytea NOT NULL, sealed_details bytea
            """,
            indexes=("(home_isil, stream_id)",),
        ),
    ),
    fold=fold,
    version=2,  # the details
)
