"""The link between one guest and a login account.

All messages of identity come from this stream. Each event is one message, so the versions have no gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from eventsourcing.domain import Aggregate

from identity.domain.errors import RefusalReason
from identity.domain.guest_status import GuestStatus, Status, recorded_status


@dataclass(frozen=True, slots=True)
class Linked:
    """The guest is linked. `too_late`: a first login had already made the actor `actor_id` (I6)."""

    account_id: str
    actor_id: UUID
    too_late: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The last request for a link was refused."""

    account_id: str
    reason: RefusalReason


class GuestLink(Aggregate):
    """The link of one guest; its stream id is the guest id. `answer` None: no account was asked for."""

    TOPIC = "identity.guest-link"

    class Event(Aggregate.Event):
        """An event of a guest's link."""

    class Noted(Event, Aggregate.Created):
        """The guest is known here, without an account so far (I2)."""

        TOPIC = "identity.guest-noted"
        SEALED = ("person_ref",)
        organisation: str
        person_ref: str
        status: str
        ends_on: date | None

    Created = Noted  # the name under which the library looks for a first event

    class StandingChanged(Event):
        """The guest status changed, which a recognised login reports (I7)."""

        TOPIC = "identity.guest-standing-changed"
        status: str
        ends_on: date | None

        def apply(self, aggregate: GuestLink) -> None:
            """Set the guest status."""
            aggregate.guest_status = recorded_status(self.status, self.ends_on, self.timestamp)

    class LoginAccountLinked(Event):
        """The guest was linked to the account's actor."""

        TOPIC = "identity.login-account-linked"
        SEALED = ("account_id",)
        account_id: str
        actor_id: UUID

        def apply(self, aggregate: GuestLink) -> None:
            """Set the link."""
            aggregate.linked(Linked(self.account_id, self.actor_id, too_late=False))

    class LoginAccountLinkedTooLate(Event):
        """The guest was linked, but a first login had already made the actor `actor_id` (I6)."""

        TOPIC = "identity.login-account-linked-too-late"
        SEALED = ("account_id",)
        account_id: str
        actor_id: UUID

        def apply(self, aggregate: GuestLink) -> None:
            """Set the link."""
            aggregate.linked(Linked(self.account_id, self.actor_id, too_late=True))

    class LoginAccountLinkRefused(Event):
        """The request to link the guest to this account was refused (I2, I3)."""

        TOPIC = "identity.login-account-link-refused"
        SEALED = ("account_id",)
        account_id: str
        reason: str

        def apply(self, aggregate: GuestLink) -> None:
            """Set the refusal."""
            aggregate.answer = Refused(self.account_id, RefusalReason(self.reason))

    class LoginAccountReleased(Event):
        """The guest has no account any more.

        The guest was unlinked, deregistered, merged or erased, or another account was asked for.
        """

        TOPIC = "identity.login-account-released"
        SEALED = ("account_id",)
        account_id: str

        def apply(self, aggregate: GuestLink) -> None:
            """Clear the link or the refusal."""
            aggregate.answer = None

    class Merged(Event):
        """The guest became a merged record that points to another guest, the same person (R18).

        `account_id`: the last account that was linked to it or refused; None if there was none.
        """

        TOPIC = "identity.guest-merged"
        SEALED = ("account_id",)
        into: UUID
        account_id: str | None

        def apply(self, aggregate: GuestLink) -> None:
            """Point to the survivor, and keep the account id."""
            aggregate.merged_into = self.into
            aggregate.merged_account = self.account_id

    def __init__(self, organisation: str, person_ref: str, status: str, ends_on: date | None) -> None:
        self.organisation = organisation
        self.person_ref = person_ref
        self.guest_status = GuestStatus(Status(status), ends_on)
        self.answer: Linked | Refused | None = None
        self.accounts: list[str] = []  # all accounts that were ever linked
        self.merged_into: UUID | None = None
        self.merged_account: str | None = None

    @classmethod
    def note(
        cls, guest_id: UUID, *, organisation: str, person_ref: str, ends_on: date | None, now: datetime
    ) -> GuestLink:
        """Note a guest that was registered: the first event of its link."""
        return cls._create(
            cls.Noted,
            id=guest_id,
            organisation=organisation,
            person_ref=person_ref,
            status=Status.VALID.value,
            ends_on=ends_on,
            timestamp=now,
        )

    @property
    def registered(self) -> bool:
        """Whether the registration still counts: neither deregistered (R21) nor erased."""
        return self.guest_status.status not in {Status.DEREGISTERED, Status.ERASED}

    @property
    def erased(self) -> bool:
        """Whether the guest's personal data was destroyed (I9)."""
        return self.guest_status.status == Status.ERASED

    def concerns(self, account_id: str) -> bool:
        """Return whether this account is the one that was last asked for."""
        return self.answer is not None and self.answer.account_id == account_id

    def linked(self, answer: Linked) -> None:
        """Set the link, and keep the account id in `accounts`."""
        self.answer = answer
        if answer.account_id not in self.accounts:
            self.accounts.append(answer.account_id)

    def change_guest_status(self, guest_status: GuestStatus, now: datetime) -> None:
        """Change the guest status (I7). The same status again is no event."""
        if guest_status != self.guest_status:
            self.trigger_event(
                self.StandingChanged,
                status=guest_status.status.value,
                ends_on=guest_status.ends_on,
                timestamp=now,
            )

    def confirm(self, linked: Linked, now: datetime) -> None:
        """Reply to a request with a link.

        The event is written also when nothing changed (I3), because registration waits for a reply.
        """
        kind = self.LoginAccountLinkedTooLate if linked.too_late else self.LoginAccountLinked
        self.trigger_event(kind, account_id=linked.account_id, actor_id=linked.actor_id, timestamp=now)

    def refuse(self, account_id: str, reason: RefusalReason, now: datetime) -> None:
        """Reply to a request with a refusal, also when the same request was refused before."""
        self.trigger_event(
            self.LoginAccountLinkRefused, account_id=account_id, reason=reason.value, timestamp=now
        )

    def merge_into(self, into: UUID, now: datetime) -> None:
        """Make this guest a merged record that points to the survivor (R18).

        Call this before `release`, so that the event keeps the account id.
        """
        account_id = self.merged_account if self.answer is None else self.answer.account_id
        self.trigger_event(self.Merged, into=into, account_id=account_id, timestamp=now)

    def release(self, now: datetime) -> None:
        """Release the account that was linked or refused. Without such an account this is no event."""
        if self.answer is not None:
            self.trigger_event(self.LoginAccountReleased, account_id=self.answer.account_id, timestamp=now)
