"""The effect of a verdict on a guest, the counts of a library, and the day of a nightly check (R12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time
from enum import StrEnum

from registration.domain.term import Term
from registration.domain.verdict import (
    UNREADABLE,
    Mismatch,
    NotFound,
    NotOfGuest,
    Reading,
    Reason,
    Refused,
    Unavailable,
    Valid,
)
from shared.kernel.amsterdam import day_of, moment_of

REASON_OF_EXPIRY = "overig"
"""The reason that the screen shows when the membership at the home library ended (R13)."""

GUEST_SUBSCRIPTION = "guest-subscription"
"""The reason when the membership at the home library is itself a guest subscription (R11)."""


class Status(StrEnum):
    """The status of a guest."""

    VALID = "valid"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    DEREGISTERED = "deregistered"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Confirm:
    """The term gets the home library's end date. `end` None: open-ended."""

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


def decide(verdict: Reading, status: Status, term: Term, today: date) -> tuple[Decision, ...]:
    """Return what happens to a guest (R12): nothing if it is expired, deregistered or erased."""
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


def leaves_stale(verdict: Reading) -> bool:
    """Return whether the term is kept because there is no usable reply about this guest (R12, R25)."""
    match verdict:
        case NotFound() | Unavailable() | NotOfGuest():
            return True
        case Refused(because_ended=True):
            return False
        case Valid() | Refused():
            return verdict.ends_on is UNREADABLE


def refusal_reasons(verdict: Reading, today: date) -> tuple[str, ...]:
    """Return the reasons why this verdict forbids a registration (R4, R11, R25); empty if it does not."""
    match verdict:
        case NotOfGuest(reason=reason):
            return (reason.value,)
        case Refused():
            return tuple(reason.value for reason in verdict.reasons)
        case Valid() if verdict.has_ended(today):
            return (Reason.EXPIRED.value,)
        case Valid(is_guest_subscription=True):
            return (GUEST_SUBSCRIPTION,)
        case _:
            return ()


def _term_decision(verdict: Valid, term: Term, today: date) -> tuple[Decision, ...]:
    # The provisional term is kept on the day of registration. The home library's end date replaces it later.
    if verdict.ends_on is UNREADABLE or today <= term.begin or verdict.ends_on == term.end:
        return ()
    return (Confirm(verdict.ends_on),)


@dataclass(slots=True)
class Tally:
    """Counts of guests. `asked` is the sum of those up to `stale`; those after it are causes of `stale`."""

    asked: int = 0
    unchanged: int = 0
    confirmed: int = 0
    expired: int = 0
    suspended: int = 0
    reinstated: int = 0
    stale: int = 0
    not_found: int = 0
    failed: int = 0
    other_person: int = 0
    card_taken: int = 0

    def count(self, verdict: Reading, decisions: Sequence[Decision], *, failed_before: bool) -> None:
        """Count one verdict. `failed_before`: this nightly check already counted the guest as failed."""
        if failed_before:
            self.asked -= 1
            self.stale -= 1
            self.failed -= 1
        self.asked += 1
        self.stale += leaves_stale(verdict)
        self.not_found += isinstance(verdict, NotFound)
        self.failed += isinstance(verdict, Unavailable)
        mismatch = verdict.reason if isinstance(verdict, NotOfGuest) else None
        self.other_person += mismatch is Mismatch.OTHER_PERSON
        self.card_taken += mismatch is Mismatch.CARD_OF_ANOTHER_GUEST
        if leaves_stale(verdict):
            return
        decision_types = {type(decision) for decision in decisions}
        for decision_type, name in OUTCOMES.items():
            if decision_type in decision_types:
                setattr(self, name, getattr(self, name) + 1)
                return
        self.unchanged += 1

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


OUTCOMES = {Expire: "expired", Suspend: "suspended", Reinstate: "reinstated", Confirm: "confirmed"}
"""The most important first: a guest who is reinstated with a new end date counts as reinstated."""

A_FEW = 3
"""So many guests may be unknown to any library, however small it is."""


def too_many_not_found(not_found: int, guests: int, percent: int) -> bool:
    """Return whether so many guests are unknown to a library that its system must be failing (R12)."""
    return not_found > max(A_FEW, guests * percent / 100)


MORNING = time(7)
"""Counters open at this time in Europe/Amsterdam. From then on no nightly check starts by itself."""


@dataclass(frozen=True, slots=True)
class NightlyCheck:
    """The day, in Europe/Amsterdam, whose nightly check runs. By hand it may run until the next midnight."""

    day: date

    @property
    def begins_at(self) -> datetime:
        """Midnight, the start of the day. Clocks change later in the night, so this moment is unique."""
        return moment_of(self.day, time())


def due_at(now: datetime, starts_at: time) -> NightlyCheck | None:
    """Return the nightly check that is due now; None before `starts_at` and from the morning on."""
    day = day_of(now)
    if moment_of(day, starts_at) <= now < moment_of(day, MORNING):
        return NightlyCheck(day)
    return None
