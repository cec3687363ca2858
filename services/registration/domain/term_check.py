"""What an answer from home means for a guest: the decision table of R12."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from registration.domain.term import Term
from registration.domain.verdict import UNREADABLE, NotFound, Reason, Refused, Unavailable, Valid, Verdict

REASON_OF_EXPIRY = "overig"
"""What the screen gives as reason whenever a home membership ended (R13)."""

GUEST_SUBSCRIPTION = "guest-subscription"
"""The reason when the membership at home is itself one of a guest (R11)."""


class Status(StrEnum):
    """How a guest stands."""

    VALID = "valid"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    DEREGISTERED = "deregistered"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Confirm:
    """The term ends when home says."""

    end: date | None


@dataclass(frozen=True, slots=True)
class Expire:
    """The subscription ends."""

    reason: str = REASON_OF_EXPIRY


@dataclass(frozen=True, slots=True)
class Suspend:
    """The guest is blocked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reinstate:
    """The block is lifted."""


Decision = Confirm | Expire | Suspend | Reinstate


def decide(verdict: Verdict, status: Status, term: Term, today: date) -> tuple[Decision, ...]:
    """Decide what happens to a guest (R12). Nothing revives one that is expired, deregistered or erased."""
    if status not in {Status.VALID, Status.SUSPENDED}:
        return ()
    match verdict:
        case Valid() if verdict.has_ended(today):
            return (Expire(),)
        case Valid():
            lifted = (Reinstate(),) if status is Status.SUSPENDED else ()
            return (*lifted, *_term_decision(verdict, term, today))
        case Refused(because_ended=True):
            return (Expire(),)
        case Refused() if status is Status.VALID and not leaves_stale(verdict):
            return (Suspend(", ".join(verdict.reasons)),)
        case _:
            return ()


def leaves_stale(verdict: Verdict) -> bool:
    """Say whether the term stays as it is for want of an answer that can be used (R12)."""
    match verdict:
        case NotFound() | Unavailable():
            return True
        case Refused(because_ended=True):
            return False
        case Valid() | Refused():
            return verdict.ends_on is UNREADABLE


def refusal_reasons(verdict: Verdict, today: date) -> tuple[str, ...]:
    """Give the reasons for which nobody could be registered on this answer (R4, R11); empty without any."""
    match verdict:
        case Refused():
            return tuple(reason.value for reason in verdict.reasons)
        case Valid() if verdict.has_ended(today):
            return (Reason.EXPIRED.value,)
        case Valid(is_guest_subscription=True):
            return (GUEST_SUBSCRIPTION,)
        case _:
            return ()


def _term_decision(verdict: Valid, term: Term, today: date) -> tuple[Decision, ...]:
    # On the day of registration the provisional term runs; home's end replaces it from the day after.
    if verdict.ends_on is UNREADABLE or today <= term.begin or verdict.ends_on == term.end:
        return ()
    return (Confirm(verdict.ends_on),)
