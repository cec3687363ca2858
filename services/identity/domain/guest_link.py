"""What became of the link between one guest and a login account.

Everything that identity publishes comes from here: each event is one message, so their versions have no gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from eventsourcing.domain import Aggregate

from identity.domain.errors import RefusalReason
from identity.domain.guest_status import GuestStatus, Status


@dataclass(frozen=True, slots=True)
class Linked:
    """The guest is linked. `too_late`: a login there had already made `actor_id` (I6)."""

    account_id: str
    actor_id: UUID
    too_late: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The last request was refused."""

    account_id: str
    reason: RefusalReason


class GuestLink(Aggregate):
    """One guest of registration, under the guest's own id. `answer` None: no account is asked for."""

    TOPIC = "identity.guest-link"

    class Event(Aggregate.Event):
        """What happened to a guest's link."""

    class Noted(Event, Aggregate.Created):
        """The guest is known here; no account yet (I2)."""

        TOPIC = "identity.guest-noted"
        organisation: str
        person_ref: str
        status: str
        ends_on: date | None

    Created = Noted  # the name under which the library looks for a first event

    class StandingChanged(Event):
        """What a recognised login reports has changed (I7)."""

        TOPIC = "identity.guest-standing-changed"
        status: str
        ends_on: date | None

        def apply(self, aggregate: GuestLink) -> None:
            """Take over the standing."""
            aggregate.guest_status = GuestStatus(Status(self.status), self.ends_on)

    class LoginAccountLinked(Event):
        """The guest is linked to the account's actor."""

        TOPIC = "identity.login-account-linked"
        account_id: str
        actor_id: UUID

        def apply(self, aggregate: GuestLink) -> None:
            """Take over the link."""
            aggregate.linked(Linked(self.account_id, self.actor_id, too_late=False))

    class LoginAccountLinkedTooLate(Event):
        """The guest is linked, but a login had made `actor_id` before (I6)."""

        TOPIC = "identity.login-account-linked-too-late"
        account_id: str
        actor_id: UUID

        def apply(self, aggregate: GuestLink) -> None:
            """Take over the link."""
            aggregate.linked(Linked(self.account_id, self.actor_id, too_late=True))

    class LoginAccountLinkRefused(Event):
        """The guest cannot be linked to the account that was asked for (I2, I3)."""

        TOPIC = "identity.login-account-link-refused"
        account_id: str
        reason: str

        def apply(self, aggregate: GuestLink) -> None:
            """Remember the refusal."""
            aggregate.answer = Refused(self.account_id, RefusalReason(self.reason))

    class LoginAccountReleased(Event):
        """The guest has no account any more: unlinked, deregistered, or another one was asked for."""

        TOPIC = "identity.login-account-released"
        account_id: str

        def apply(self, aggregate: GuestLink) -> None:
            """Forget link or refusal."""
            aggregate.answer = None

    class Merged(Event):
        """The guest is a signpost from now on, to another record of the same person (R18).

        `account_id`: the account that it had, or was refused, until then.
        """

        TOPIC = "identity.guest-merged"
        into: UUID
        account_id: str | None

        def apply(self, aggregate: GuestLink) -> None:
            """Point there, and remember the account."""
            aggregate.merged_into = self.into
            aggregate.merged_account = self.account_id

    def __init__(self, organisation: str, person_ref: str, status: str, ends_on: date | None) -> None:
        self.organisation = organisation
        self.person_ref = person_ref
        self.guest_status = GuestStatus(Status(status), ends_on)
        self.answer: Linked | Refused | None = None
        self.accounts: list[str] = []  # every one that was ever linked
        self.merged_into: UUID | None = None
        self.merged_account: str | None = None

    @classmethod
    def note(
        cls, guest_id: UUID, *, organisation: str, person_ref: str, ends_on: date | None, now: datetime
    ) -> GuestLink:
        """Remember a guest that was registered."""
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
        """Whether the registration still counts (R21)."""
        return self.guest_status.status not in {Status.DEREGISTERED, Status.ERASED}

    @property
    def erased(self) -> bool:
        """Whether the guest's personal data was destroyed (I9): only this stub is left."""
        return self.guest_status.status == Status.ERASED

    def concerns(self, account_id: str) -> bool:
        """Whether this account is the one that was last asked for."""
        return self.answer is not None and self.answer.account_id == account_id

    def linked(self, answer: Linked) -> None:
        """Take over a link, and remember whose account the guest had."""
        self.answer = answer
        if answer.account_id not in self.accounts:
            self.accounts.append(answer.account_id)

    def change_guest_status(self, guest_status: GuestStatus, now: datetime) -> None:
        """Take over what registration told (I7); the same again is no event."""
        if guest_status != self.guest_status:
            self.trigger_event(
                self.StandingChanged,
                status=guest_status.status.value,
                ends_on=guest_status.ends_on,
                timestamp=now,
            )

    def confirm(self, linked: Linked, now: datetime) -> None:
        """Answer a request with a link, also when nothing changed (I3): who asked waits for an answer."""
        kind = self.LoginAccountLinkedTooLate if linked.too_late else self.LoginAccountLinked
        self.trigger_event(kind, account_id=linked.account_id, actor_id=linked.actor_id, timestamp=now)

    def refuse(self, account_id: str, reason: RefusalReason, now: datetime) -> None:
        """Answer a request with a refusal, also a second time."""
        self.trigger_event(
            self.LoginAccountLinkRefused, account_id=account_id, reason=reason.value, timestamp=now
        )

    def merge_into(self, into: UUID, now: datetime) -> None:
        """Point at the guest that is the same person (R18), before the account is released."""
        account_id = self.merged_account if self.answer is None else self.answer.account_id
        self.trigger_event(self.Merged, into=into, account_id=account_id, timestamp=now)

    def release(self, now: datetime) -> None:
        """Let go of the account, linked or refused; without one this is no event."""
        if self.answer is not None:
            self.trigger_event(self.LoginAccountReleased, account_id=self.answer.account_id, timestamp=now)
