"""What a verdict means for a guest, counted per library, and when the nightly check runs (R12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, time
from enum import StrEnum

from registration.domain.term import Term
from registration.domain.verdict import UNREADABLE, NotFound, Reason, Refused, Unavailable, Valid, Verdict
from shared.kernel.amsterdam import day_of, moment_of

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


@dataclass(slots=True)
class Tally:
    """Guests. `asked` is the sum of all others but the last two, which tell why terms are `stale`."""

    asked: int = 0
    unchanged: int = 0
    confirmed: int = 0
    expired: int = 0
    suspended: int = 0
    reinstated: int = 0
    stale: int = 0
    not_found: int = 0
    failed: int = 0

    def count(self, verdict: Verdict, decisions: Sequence[Decision], *, failed_before: bool) -> None:
        """Count one answer. Who failed earlier in the night is asked again, and is no second guest."""
        if failed_before:
            self.asked -= 1
            self.stale -= 1
            self.failed -= 1
        self.asked += 1
        self.stale += leaves_stale(verdict)
        self.not_found += isinstance(verdict, NotFound)
        self.failed += isinstance(verdict, Unavailable)
        if leaves_stale(verdict):
            return
        problem_types = {type(decision) for decision in decisions}
        for kind, name in OUTCOMES.items():
            if kind in problem_types:
                setattr(self, name, getattr(self, name) + 1)
                return
        self.unchanged += 1

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


OUTCOMES = {Expire: "expired", Suspend: "suspended", Reinstate: "reinstated", Confirm: "confirmed"}
"""By weight: a guest who is reinstated with a new end counts as reinstated."""

MORNING = time(7)
"""Counters open after this: what is not done by then waits for the next night."""


@dataclass(frozen=True, slots=True)
class NightlyCheck:
    """The night before a day in Europe/Amsterdam; by hand the check may run until the next midnight."""

    day: date

    @property
    def begins_at(self) -> datetime:
        """Midnight. Clocks change later in the night, so there is exactly one."""
        return moment_of(self.day, time())


def due_at(now: datetime, starts_at: time) -> NightlyCheck | None:
    """Give the night in which terms are to be checked now; None by day, and before `starts_at`."""
    day = day_of(now)
    if moment_of(day, starts_at) <= now < moment_of(day, MORNING):
        return NightlyCheck(day)
    return None
