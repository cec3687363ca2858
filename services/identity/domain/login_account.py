"""A login account: its links, its first login per organisation, its actor.

Its stream holds everything that a login needs (ADR 0006).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from uuid import UUID, uuid5

from eventsourcing.domain import Aggregate

from identity.domain.errors import AccountInUse
from identity.domain.guest_link import Linked
from identity.domain.guest_status import GuestStatus, recorded_status

LOGIN_NOTED_EVERY = timedelta(days=30)
"""A later login is noted at most once in this time, so that the usual login writes nothing (ADR 0006)."""

_ACCOUNTS = UUID("6f0c8d1e-52a7-5d0b-9a37-0f3f6f0f5b11")


def login_account_stream(account_id: str) -> UUID:
    """Return the stream id of an account, computed from the account id alone (I1)."""
    return uuid5(_ACCOUNTS, account_id)


def next_stream(erased: UUID) -> UUID:
    """Return the stream id of an account that is opened again after an erasure (I9).

    A new stream is needed because the data key of the erased stream never comes back.
    """
    return uuid5(erased, "after the erasure")


@dataclass(frozen=True, slots=True)
class GuestOfAccount:
    """A guest that the account is linked to. Logins at its organisation use the actor `actor_id`."""

    guest_id: UUID
    organisation: str
    guest_status: GuestStatus
    actor_id: UUID
    too_late: bool


@dataclass(frozen=True, slots=True)
class FirstLogin:
    """The first login at an organisation. `new_actor`: it made an actor of its own (I4, step 6)."""

    organisation: str
    actor_id: UUID
    new_actor: bool
    at: datetime


class LoginAccount(Aggregate):
    """A login account with its own actor. `details` is personal data, encrypted (ADR 0005)."""

    TOPIC = "identity.login-account"

    class Event(Aggregate.Event):
        """An event of an account."""

    class Opened(Event, Aggregate.Created):
        """The account was opened here."""

        TOPIC = "identity.login-account-opened"
        SEALED = (
            "account_id",
            "person_ref",
        )
        account_id: str
        actor_id: UUID
        home_isil: str
        person_ref: str
        details: bytes

    Created = Opened  # the name under which the library looks for a first event

    class GuestLinked(Event):
        """A guest was linked to this account."""

        TOPIC = "identity.login-account-guest-linked"
        guest_id: UUID
        organisation: str
        status: str
        ends_on: date | None
        actor_id: UUID
        too_late: bool

        def apply(self, aggregate: LoginAccount) -> None:
            """Add the guest."""
            guest_status = recorded_status(self.status, self.ends_on, self.timestamp)
            aggregate.guests[self.guest_id] = GuestOfAccount(
                self.guest_id, self.organisation, guest_status, self.actor_id, self.too_late
            )

    class GuestStatusChanged(Event):
        """The guest status changed, which a recognised login reports (I7)."""

        TOPIC = "identity.login-account-guest-standing-changed"
        guest_id: UUID
        status: str
        ends_on: date | None

        def apply(self, aggregate: LoginAccount) -> None:
            """Set the guest status."""
            guest_status = recorded_status(self.status, self.ends_on, self.timestamp)
            aggregate.guests[self.guest_id] = replace(
                aggregate.guests[self.guest_id], guest_status=guest_status
            )

    class GuestReleased(Event):
        """The guest was released from this account."""

        TOPIC = "identity.login-account-guest-released"
        guest_id: UUID

        def apply(self, aggregate: LoginAccount) -> None:
            """Remove the guest."""
            del aggregate.guests[self.guest_id]

    class FirstLoginRecorded(Event):
        """The account logged in at this organisation for the first time."""

        TOPIC = "identity.login-account-first-login-recorded"
        organisation: str
        actor_id: UUID
        new_actor: bool

        def apply(self, aggregate: LoginAccount) -> None:
            """Add the first login. It is never removed."""
            aggregate.first_logins[self.organisation] = FirstLogin(
                self.organisation, self.actor_id, self.new_actor, self.timestamp
            )

    class ActorReplaced(Event):
        """Two actors were merged: logins that used the actor `actor_id` use the actor `by` now (I6)."""

        TOPIC = "identity.login-account-actor-replaced"
        actor_id: UUID
        by: UUID

        def apply(self, aggregate: LoginAccount) -> None:
            """Replace the actor everywhere. A link to the account's own actor is no longer too late."""
            if aggregate.actor_id == self.actor_id:
                aggregate.actor_id = self.by
            for guest in aggregate.guests.values():
                actor_id = self.by if guest.actor_id == self.actor_id else guest.actor_id
                too_late = guest.too_late and actor_id != aggregate.actor_id
                aggregate.guests[guest.guest_id] = replace(guest, actor_id=actor_id, too_late=too_late)
            for login in aggregate.first_logins.values():
                if login.actor_id == self.actor_id:
                    aggregate.first_logins[login.organisation] = replace(login, actor_id=self.by)

    class LoggedInAgain(Event):
        """An account without a guest logged in; at most one such event in LOGIN_NOTED_EVERY (I9)."""

        TOPIC = "identity.login-account-logged-in-again"

    class Erased(Event):
        """The personal data of the account was destroyed (I9). No event follows."""

        TOPIC = "identity.login-account-erased"

        def apply(self, aggregate: LoginAccount) -> None:
            """Clear the encrypted details: their key is gone."""
            aggregate.erased = True
            aggregate.details = b""

    def __init__(
        self, account_id: str, actor_id: UUID, home_isil: str, person_ref: str, details: bytes
    ) -> None:
        self.account_id = account_id
        self.actor_id = actor_id
        self.home_isil = home_isil
        self.person_ref = person_ref
        self.details = details
        self.guests: dict[UUID, GuestOfAccount] = {}
        self.first_logins: dict[str, FirstLogin] = {}
        self.erased = False

    @classmethod
    def open(
        cls,
        account_id: str,
        *,
        stream: UUID,
        actor_id: UUID,
        home_isil: str,
        person_ref: str,
        details: bytes,
        now: datetime,
    ) -> LoginAccount:
        """Open an account in this stream. `details` is encrypted under the data key of the stream."""
        return cls._create(
            cls.Opened,
            id=stream,
            account_id=account_id,
            actor_id=actor_id,
            home_isil=home_isil,
            person_ref=person_ref,
            details=details,
            timestamp=now,
        )

    def guest_at(self, organisation: str) -> GuestOfAccount | None:
        """Return the guest of this account at an organisation; there is at most one (I3)."""
        return next((guest for guest in self.guests.values() if guest.organisation == organisation), None)

    def own_actor_at(self, organisation: str) -> UUID | None:
        """Return the actor that a first login there made without a registration (I4, step 2)."""
        first = self.first_logins.get(organisation)
        return first.actor_id if first is not None and first.new_actor else None

    def link(self, guest_id: UUID, organisation: str, guest_status: GuestStatus, now: datetime) -> Linked:
        """Link a guest and return the link. The same pair again changes at most the guest status (I3).

        After a first login that made its own actor the link is too late and keeps that actor (I6). Raises
        AccountInUse when another guest of the organisation has the account.
        """
        present = self.guest_at(organisation)
        if present is not None and present.guest_id != guest_id:
            raise AccountInUse(present.guest_id)
        if present is None:
            own_actor = self.own_actor_at(organisation)
            self.trigger_event(
                self.GuestLinked,
                guest_id=guest_id,
                organisation=organisation,
                status=guest_status.status.value,
                ends_on=guest_status.ends_on,
                actor_id=own_actor or self.actor_id,
                too_late=own_actor not in {None, self.actor_id},
                timestamp=now,
            )
        else:
            self.change_guest_status(guest_id, guest_status, now)
        guest = self.guests[guest_id]
        return Linked(self.account_id, guest.actor_id, guest.too_late)

    def change_guest_status(self, guest_id: UUID, guest_status: GuestStatus, now: datetime) -> None:
        """Change the status of a linked guest (I7). The same status, or an unknown guest, is no event."""
        guest = self.guests.get(guest_id)
        if guest is not None and guest.guest_status != guest_status:
            self.trigger_event(
                self.GuestStatusChanged,
                guest_id=guest_id,
                status=guest_status.status.value,
                ends_on=guest_status.ends_on,
                timestamp=now,
            )

    def release(self, guest_id: UUID, now: datetime) -> None:
        """Release a guest (I3). First logins stay."""
        if guest_id in self.guests:
            self.trigger_event(self.GuestReleased, guest_id=guest_id, timestamp=now)

    def replace_actor(self, actor_id: UUID, by: UUID, now: datetime) -> None:
        """Replace an actor by another one (I6). An actor that the account does not use is no event."""
        known = {self.actor_id, *(guest.actor_id for guest in self.guests.values())}
        if actor_id in known | {login.actor_id for login in self.first_logins.values()}:
            self.trigger_event(self.ActorReplaced, actor_id=actor_id, by=by, timestamp=now)

    def erase(self, now: datetime) -> bool:
        """Erase the account and return True, or return False when a guest still uses it (I9)."""
        if self.guests:
            return False
        self.trigger_event(self.Erased, timestamp=now)
        return True

    def note_login(self, now: datetime) -> bool:
        """Note a login that is not the first one and return True, or return False when none must be noted.

        It is noted only where the retention period needs it (I9): no guest uses the account, and nothing
        happened to it for LOGIN_NOTED_EVERY.
        """
        if self.guests or now - self.modified_on < LOGIN_NOTED_EVERY:
            return False
        self.trigger_event(self.LoggedInAgain, timestamp=now)
        return True

    @property
    def last_use(self) -> datetime | None:
        """The last moment at which a login may have used this account (I9).

        None: a guest uses it, or it was erased.
        """
        return None if self.guests or self.erased else self.modified_on + LOGIN_NOTED_EVERY

    def record_first_login(
        self, organisation: str, actor_id: UUID, *, new_actor: bool, now: datetime
    ) -> bool:
        """Record the first login at an organisation and return True; return False for a later login."""
        if organisation in self.first_logins:
            return False
        self.trigger_event(
            self.FirstLoginRecorded,
            organisation=organisation,
            actor_id=actor_id,
            new_actor=new_actor,
            timestamp=now,
        )
        return True
