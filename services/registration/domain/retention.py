"""How long a person is known after a registration ended (R19)."""

from __future__ import annotations

from datetime import date

from registration.domain.guest_state import GuestState
from registration.domain.term_check import Status

ENDED = frozenset({Status.EXPIRED, Status.DEREGISTERED})


def ended_on(guest: GuestState) -> date | None:
    """Give the day on which the registration ended; None as long as it runs, and for the erased.

    Nor did it end for a record that was merged into another: that one's person may still be a guest, and when
    not, both go together (R18).
    """
    return guest.changed_on if guest.status in ENDED and guest.merged_into is None else None
