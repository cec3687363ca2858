"""The events of a guest. An event keeps its topic permanently, so a class can move to another module.

Fields named `sealed_…` are personal data. The use cases encrypt and decrypt them, not this module. The fields
in `SEALED` are encrypted when the event is stored, and None after an erasure (ADR 0005).
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
PREFERENCES = ("preferred_language", "newsletter", "lending_history")
"""What the guest wants, as events keep it. None: it was not asked, or it was erased (R27)."""


def _without_reason(state: dict[str, Any]) -> None:
    """Upcast: version 1 of the events with a link request had no reason."""
    state["login_account_reason"] = None


def _without_preferences(state: dict[str, Any]) -> None:
    """Upcast: version 2 of both registrations asked for no preferences (R27)."""
    state.update(dict.fromkeys(PREFERENCES))


class GuestEvent(Aggregate.Event):
    """An event of a guest."""

    def apply(self, aggregate: Any) -> None:
        """Change the guest's state by this event."""
        aggregate.evolve(self)


class GuestRegistered(GuestEvent, Aggregate.Created):
    """A guest was registered. After a deregistration the same stream may hold another one (R21)."""

    TOPIC = "registration.guest-registered"
    SEALED = (
        "person_ref",
        "login_account_id",
        "login_account_reason",
        *PREFERENCES,
    )
    class_version = 3
    upcast_v1_v2 = staticmethod(_without_reason)
    upcast_v2_v3 = staticmethod(_without_preferences)

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
    login_account_reason: str | None
    preferred_language: str | None
    newsletter: bool | None
    lending_history: bool | None

    def mutate(self, aggregate: Any) -> Any:
        """Create the guest. If it was registered before, change it like any other event does."""
        return CanMutateAggregate.mutate(self, aggregate) if aggregate is not None else _begun(self)


def _begun(event: Any) -> Any:
    """Return the guest that begins with this event.

    The library's own code also inspects `__init__`, which takes a tenth of a registration's time.
    """
    guest_class = resolve_topic(event.originator_topic)
    guest = guest_class.__new__(guest_class)
    guest.__base_init__(event.originator_id, event.originator_version, event.timestamp)
    event.apply(guest)
    return guest


class GuestImported(GuestEvent, Aggregate.Created):
    """A guest of before was taken over from another system, as that system knew it (R29).

    `timestamp` is the moment of the import. `source`: the system, by the operator's name for it.
    `registered_on`: the day of the registration there. `term_end` None: no end date is known.
    `contributions`: the rows, newest first, each with `begin`, `end` and `status`; the newest one ends with
    the term. If its status is that of an invalid row, the subscription had ended on the day it begins.
    """

    TOPIC = "registration.guest-imported"
    SEALED = ("person_ref", "login_account_id")

    organisation: str
    branch: str
    home_isil: str
    person_ref: str
    card_has_chip: bool
    subscription_code: str
    source: str
    registered_on: date
    term_begin: date
    term_end: date | None
    contributions: list[dict[str, Any]]
    lending_strips: int
    login_account_choice: str
    login_account_id: str | None
    sealed_card: Encrypted
    sealed_details: Encrypted

    def mutate(self, aggregate: Any) -> Any:
        """Create the guest. No guest is imported twice."""
        return CanMutateAggregate.mutate(self, aggregate) if aggregate is not None else _begun(self)


class LendingStripsGranted(GuestEvent):
    """The free strips of a new guest were granted (R8)."""

    TOPIC = "registration.lending-strips-granted"

    strips: int
    receipt_code: str
    price: str


class TermConfirmed(GuestEvent):
    """The home library's end date replaced the earlier one. `end` None: no end date is known (R12)."""

    TOPIC = "registration.term-confirmed"

    end: date | None


class SubscriptionExpired(GuestEvent):
    """The membership at the home library ended, so the guest's subscription ended too (R12)."""

    TOPIC = "registration.subscription-expired"

    on: date
    reason: str


class GuestSuspended(GuestEvent):
    """The home library blocks the patron. A block may be lifted; it is not an end (R12)."""

    TOPIC = "registration.guest-suspended"

    reason: str


class GuestReinstated(GuestEvent):
    """The block at the home library was lifted (R12)."""

    TOPIC = "registration.guest-reinstated"


class GuestReregistered(GuestEvent):
    """An expired guest was registered again (R14).

    `login_account_choice` None: the login link stays. Preferences None: they stay as they were (R27).
    """

    TOPIC = "registration.guest-reregistered"
    SEALED = ("login_account_id", "login_account_reason", *PREFERENCES)
    class_version = 3
    upcast_v1_v2 = staticmethod(_without_reason)
    upcast_v2_v3 = staticmethod(_without_preferences)

    patron_type: str
    term_begin: date
    term_end: date
    login_account_choice: str | None
    login_account_id: str | None
    sealed_card: Encrypted
    sealed_details: Encrypted
    sealed_new_account: Encrypted | None
    login_account_reason: str | None
    preferred_language: str | None
    newsletter: bool | None
    lending_history: bool | None


class GuestPreferencesChanged(GuestEvent):
    """The guest wants another language, or gave or withdrew a consent (R27)."""

    TOPIC = "registration.guest-preferences-changed"
    SEALED = PREFERENCES

    preferred_language: str
    newsletter: bool
    lending_history: bool


class CardNumberChanged(GuestEvent):
    """The home library gave out another card number. The number before is an alias now (R10, R24).

    `person_ref`: the reference of the new number. The earlier ones still find the guest.
    """

    TOPIC = "registration.card-number-changed"
    SEALED = ("person_ref",)

    person_ref: str
    sealed_card: Encrypted


class PatronDetailsChanged(GuestEvent):
    """The home library has another name, birth date, address or e-mail than before (R24)."""

    TOPIC = "registration.patron-details-changed"

    sealed_details: Encrypted


class CardChipChanged(GuestEvent):
    """The card has a chip although the registration says it has none, or the other way round (R9)."""

    TOPIC = "registration.card-chip-changed"
    SEALED = ("reason",)

    card_has_chip: bool
    reason: str


class LoginAccountLinkRequested(GuestEvent):
    """A clerk asked for a link to a login account: koppelen (R17)."""

    TOPIC = "registration.login-account-link-requested"
    SEALED = ("login_account_id", "login_account_reason")
    class_version = 2
    upcast_v1_v2 = staticmethod(_without_reason)

    login_account_choice: str
    login_account_id: str
    sealed_new_account: Encrypted | None
    login_account_reason: str | None


class LoginAccountLinkConfirmed(GuestEvent):
    """Identity linked the account. `too_late`: a first login came before the link (I6)."""

    TOPIC = "registration.login-account-link-confirmed"
    SEALED = ("account_id",)

    account_id: str
    too_late: bool


class LoginAccountLinkRefused(GuestEvent):
    """Identity refused to link the account, for this reason (I2, I3)."""

    TOPIC = "registration.login-account-link-refused"
    SEALED = ("account_id",)

    account_id: str
    reason: str


class LoginAccountUnlinked(GuestEvent):
    """A clerk removed a wrong login account from the guest (R21)."""

    TOPIC = "registration.login-account-unlinked"
    SEALED = (
        "account_id",
        "reason",
    )

    account_id: str
    reason: str


class LoginActorsMergeRequested(GuestEvent):
    """A clerk asked to merge the two actors behind a link that is too late, for this reason (I6)."""

    TOPIC = "registration.login-actors-merge-requested"
    SEALED = ("reason",)

    reason: str


class GuestDeregistered(GuestEvent):
    """The registration was a mistake (R21)."""

    TOPIC = "registration.guest-deregistered"
    SEALED = ("reason",)

    on: date
    reason: str


class GuestsMerged(GuestEvent):
    """This record became a merged record: it points to the guest that is the same person (R18).

    When that guest is merged too, this event is recorded again, so it never points to a merged record.
    """

    TOPIC = "registration.guests-merged"

    into: UUID


class DuplicateMerged(GuestEvent):
    """Another record of the same person was merged into this guest (R18)."""

    TOPIC = "registration.duplicate-merged"

    guest_id: UUID


class PersonalDataErased(GuestEvent):
    """All personal data of the guest was destroyed. Earlier events stay, but cannot be decrypted (R19)."""

    TOPIC = "registration.personal-data-erased"

    on: date
