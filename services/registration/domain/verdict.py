"""What a home library says about one card: one of four things, never mixed up (R4)."""

from dataclasses import dataclass
from datetime import date
from enum import Enum, StrEnum
from typing import Final, Literal


class EndDate(Enum):
    """Stands where an end date should: the home library sent one that cannot be read.

    Not the same as None ("no end known"): None makes a term open-ended, UNREADABLE leaves it as it was (R12).
    The type checker asks everyone who handles an end date to say what they do with it.
    """

    UNREADABLE = "unreadable"


UNREADABLE: Final = EndDate.UNREADABLE
EndsOn = date | Literal[EndDate.UNREADABLE] | None


class Reason(StrEnum):
    """Why a home library refuses a patron; EXPIRED is an end, all others are blocks."""

    EXPIRED = "expired-subscription"
    BLOCKED = "blocked"
    CARD_LOST = "card-lost"
    FINES = "fines"
    FEES = "fees"
    OVERDUE = "overdue"
    TOO_MANY_CHARGED = "too-many-charged"
    TOO_MANY_RENEWALS = "too-many-renewals"
    TOO_MANY_CLAIMS = "too-many-claims"
    TOO_MANY_LOST = "too-many-lost"
    RECALL_OVERDUE = "recall-overdue"
    BILLED = "billed"


@dataclass(frozen=True, slots=True)
class PatronDetails:
    """The home library's own particulars of a patron (R5): shown, never edited here. Personal data (R19)."""

    name: str
    birth_date: date | None = None
    address: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Valid:
    """A member in good standing. `ends_on` may lie in the past: then the subscription has ended (R12)."""

    details: PatronDetails
    ends_on: EndsOn
    canonical_card_number: str
    is_guest_subscription: bool = False

    def has_ended(self, today: date) -> bool:
        """Whether the last day of the home subscription (inclusive) lies before `today`."""
        return isinstance(self.ends_on, date) and self.ends_on < today


@dataclass(frozen=True, slots=True)
class Refused:
    """Not in good standing. `because_ended`: expired or cancelled, an end; otherwise a block, which may lift.

    Without an end date in the past it is always a block, never an end. `ends_on` UNREADABLE means that the
    two could not be told apart, so a term check keeps the term (R12).
    """

    reasons: tuple[Reason, ...]
    because_ended: bool
    details: PatronDetails | None = None
    ends_on: EndsOn = None
    canonical_card_number: str | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """The home library knows no such card."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No answer that can be trusted. Never reported as blocked, never a reason to end anything.

    `reason` is a short constant for logs and operators, such as "timed out"; never personal data. `asked` is
    false when the library is left alone for a while, so that nothing went out to it.
    """

    reason: str
    asked: bool = True


Verdict = Valid | Refused | NotFound | Unavailable
