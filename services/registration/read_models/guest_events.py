"""What the views of guests have in common: which events they follow, and the state after them."""

from __future__ import annotations

from collections.abc import Sequence

from eventsourcing.utils import get_topic

from registration.domain.events import GuestEvent
from registration.domain.guest_state import GuestState, evolve_guest
from shared.projections import RecordedDomainEvent

GUEST_TOPICS = frozenset(get_topic(kind) for kind in GuestEvent.__subclasses__())


def fold_guest(events: Sequence[RecordedDomainEvent]) -> GuestState:
    """The guest after its events, the first of which registers it."""
    state: GuestState | None = None
    for happened in events:
        state = evolve_guest(state, happened.event)
    if state is None:
        raise ValueError("a guest without events")
    return state
