"""The verdict of a home library about one card: exactly one of four kinds (R4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import Enum, StrEnum
from typing import Final, Literal
from uuid import UUID


class EndDate(Enum):
    """The value for an end date that cannot be read.

    It differs from None ("no end date known"): None makes a term open-ended, UNREADABLE keeps the term (R12).
    Because it is a type of its own, the type checker finds code that forgets this case.
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
    """The home library's details of a patron: shown, never edited here (R5). Personal data (R19)."""

    name: str
    birth_date: date | None = None
    address: str | None = None
    email: str | None = None

    def born_otherwise(self, other: PatronDetails | None) -> bool:
        """Return whether both have a birth date, and not the same one: they are two people (R18, R25)."""
        return bool(other and self.birth_date and other.birth_date and self.birth_date != other.birth_date)

    def followed_by(self, reply: PatronDetails, *, in_full: bool) -> PatronDetails:
        """Return these details as a reply renews them (R24).

        `in_full`: address and e-mail that the reply leaves out are gone. A birth date is kept, because
        people differ by it; so is a text for which the reply has only signs.
        """
        return PatronDetails(
            name=_renewed(self.name, reply.name) or self.name,
            birth_date=reply.birth_date or self.birth_date,
            address=_renewed(self.address, reply.address or (None if in_full else self.address)),
            email=_renewed(self.email, reply.email or (None if in_full else self.email)),
        )


def _renewed(known: str | None, said: str | None) -> str | None:
    """Return what was said; what is known, if letters were lost on the way."""
    lost = said is not None and ("\ufffd" in said or not any(map(str.isalnum, said)))
    return known if lost else said


@dataclass(frozen=True, slots=True)
class Valid:
    """The library accepts the patron. `ends_on` may be in the past: then the subscription ended (R12)."""

    details: PatronDetails
    ends_on: EndsOn
    canonical_card_number: str
    is_guest_subscription: bool = False

    def has_ended(self, today: date) -> bool:
        """Return whether the last day of the home subscription (inclusive) is before `today`."""
        return isinstance(self.ends_on, date) and self.ends_on < today


@dataclass(frozen=True, slots=True)
class Refused:
    """The library refuses the patron. `because_ended`: expired or cancelled; else a block, which may lift.

    Without an end date in the past it is always a block, never an end. `ends_on` UNREADABLE: it is not known
    which of the two it is, so a term check keeps the term (R12).
    """

    reasons: tuple[Reason, ...]
    because_ended: bool
    details: PatronDetails | None = None
    ends_on: EndsOn = None
    canonical_card_number: str | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """The home library does not know the card."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No reply that can be trusted. It never counts as a block, and it never ends anything.

    `reason`: a short constant for logs and operators, such as "timed out"; never personal data.
    `asked` False: nothing was sent, because the circuit breaker is open.
    """

    reason: str
    asked: bool = True


Verdict = Valid | Refused | NotFound | Unavailable


class Mismatch(StrEnum):
    """Why a reply is not about the guest: the holder was born on another day, or the number is another's."""

    OTHER_PERSON = "other-person"
    CARD_OF_ANOTHER_GUEST = "card-of-another-guest"


@dataclass(frozen=True, slots=True)
class NotOfGuest:
    """A reply that named a person other than the guest. Nothing of it is taken over (R10, R25).

    A home library never says this. It is what comes of comparing its reply with what is known of the guest.
    `guest_id`: the guest whose card it named.
    """

    reason: Mismatch
    guest_id: UUID | None = None


Reading = Verdict | NotOfGuest
"""What a verdict means for one guest."""
