"""What can happen to a guest. Each event keeps its topic for ever, so moving a class breaks no log.

Fields that start with `sealed_` are personal data, sealed by the use case and never opened here (A8).
Days are days in Europe/Amsterdam; `timestamp` is the moment in UTC.
"""

from __future__ import annotations

from datetime import date
from typing import Any, NewType
from uuid import UUID

from eventsourcing.domain import Aggregate, CanMutateAggregate
from eventsourcing.utils import resolve_topic

GUEST_TOPIC = "registration.guest"
Encrypted = NewType("Encrypted", bytes)


class GuestEvent(Aggregate.Event):
    """Something that happened to a guest."""

    def apply(self, aggregate: Any) -> None:
        """Let the guest's state follow."""
        aggregate.follow(self)


class GuestRegistered(GuestEvent, Aggregate.Created):
    """A guest was registered; a later one in the same stream follows a deregistration (R21)."""

    TOPIC = "registration.guest-registered"

    organisation: str
    branch: str
    home_isil: str
    person_ref: str
    card_has_chip: bool
    identity_document_checked: bool
    subscription_code: str
    term_begin: date
    term_end: date
    login_account_choice: str
    login_account_id: str | None
    sealed_card: Encrypted
    sealed_details: Encrypted
    sealed_new_account: Encrypted | None

    def mutate(self, aggregate: Any) -> Any:
        """Make the guest; or, when it was registered before, change it like any other event."""
        if aggregate is not None:
            return CanMutateAggregate.mutate(self, aggregate)
        # As the library does, but for its looks at what `__init__` takes: a tenth of a registration.
        kind = resolve_topic(self.originator_topic)
        guest = kind.__new__(kind)
        guest.__base_init__(self.originator_id, self.originator_version, self.timestamp)
        self.apply(guest)
        return guest


class LendingStripsGranted(GuestEvent):
    """The free strips of a new guest were booked (R8)."""

    TOPIC = "registration.lending-strips-granted"

    strips: int
    receipt_code: str
    price: str


class TermConfirmed(GuestEvent):
    """The home library's end date replaced the one known until now; None: no end known (R12)."""

    TOPIC = "registration.term-confirmed"

    end: date | None


class SubscriptionExpired(GuestEvent):
    """The home membership ended, and with it the guest's subscription (R12)."""

    TOPIC = "registration.subscription-expired"

    on: date
    reason: str


class GuestSuspended(GuestEvent):
    """The home library blocks the patron: an obstacle, not an end (R12)."""

    TOPIC = "registration.guest-suspended"

    reason: str


class GuestReinstated(GuestEvent):
    """The block at home was lifted (R12)."""

    TOPIC = "registration.guest-reinstated"


class GuestReregistered(GuestEvent):
    """An expired guest was registered again (R14). Without a choice the login link stays as it is."""

    TOPIC = "registration.guest-reregistered"

    patron_type: str
    term_begin: date
    term_end: date
    login_account_choice: str | None
    login_account_id: str | None
    sealed_card: Encrypted
    sealed_details: Encrypted
    sealed_new_account: Encrypted | None


class LoginAccountLinkRequested(GuestEvent):
    """A clerk asked for a login account to be linked: koppelen (R17)."""

    TOPIC = "registration.login-account-link-requested"

    login_account_choice: str
    login_account_id: str
    sealed_new_account: Encrypted | None


class LoginAccountLinkConfirmed(GuestEvent):
    """Identity linked the account; too late when a first login came before (I6)."""

    TOPIC = "registration.login-account-link-confirmed"

    account_id: str
    too_late: bool


class LoginAccountLinkRefused(GuestEvent):
    """Identity did not link the account, and said why (I2, I3)."""

    TOPIC = "registration.login-account-link-refused"

    account_id: str
    reason: str


class LoginAccountUnlinked(GuestEvent):
    """A clerk took a wrong account off the guest (R21)."""

    TOPIC = "registration.login-account-unlinked"

    account_id: str
    reason: str


class GuestDeregistered(GuestEvent):
    """The registration was a mistake (R21)."""

    TOPIC = "registration.guest-deregistered"

    on: date
    reason: str


class GuestsMerged(GuestEvent):
    """This record is a signpost from now on, to the guest that is the same person (R18).

    It happens again when that one becomes a signpost itself: a signpost always points at a guest.
    """

    TOPIC = "registration.guests-merged"

    into: UUID


class DuplicateMerged(GuestEvent):
    """Another record of the same person was merged into this guest (R18)."""

    TOPIC = "registration.duplicate-merged"

    guest_id: UUID


class PersonalDataErased(GuestEvent):
    """All that was personal of the guest was destroyed: earlier events are read, and never opened (R19)."""

    TOPIC = "registration.personal-data-erased"

    on: date
