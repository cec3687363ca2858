"""The event types that the views of guests read, and the state of a guest after its events."""

from __future__ import annotations

from collections.abc import Sequence

from eventsourcing.utils import get_topic

from registration.domain.events import GuestEvent
from registration.domain.guest_state import GuestState, evolve_guest
from shared.projections import RecordedDomainEvent

GUEST_TOPICS = frozenset(get_topic(kind) for kind in GuestEvent.__subclasses__())


def fold_guest(events: Sequence[RecordedDomainEvent]) -> GuestState:
    """Return the state of a guest after its events. Raises ValueError when there are none."""
    state: GuestState | None = None
    for recorded in events:
        state = evolve_guest(state, recorded.event)
    if state is None:
        raise ValueError("a guest without events")
    return state
