"""A login account: its links, its first login per organisation, its actor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import UUID, uuid5

from eventsourcing.domain import Aggregate

from identity.domain.errors import AccountInUse
from identity.domain.guest_link import Linked
from identity.domain.guest_status import GuestStatus, Status

_ACCOUNTS = UUID("6f0c8d1e-52a7-5d0b-9a37-0f3f6f0f5b11")


def login_account_stream(account_id: str) -> UUID:
    """The stream of an account, which is known by its id alone (I1)."""
    return uuid5(_ACCOUNTS, account_id)


def next_stream(erased: UUID) -> UUID:
    """The stream in which an account begins anew once this one was erased (I9): its key never comes back."""
    return uuid5(erased, "after the erasure")


@dataclass(frozen=True, slots=True)
class GuestOfAccount:
    """A guest that the account is linked to, with the actor under which logins there go on."""

    guest_id: UUID
    organisation: str
    guest_status: GuestStatus
    actor_id: UUID
    too_late: bool


@dataclass(frozen=True, slots=True)
class FirstLogin:
    """The first login at an organisation. `new_actor`: it made an actor of its own (I4.6)."""

    organisation: str
    actor_id: UUID
    new_actor: bool
    at: datetime


class LoginAccount(Aggregate):
    """A login account, with an actor of its own from the start. `details` are sealed (A8)."""

    TOPIC = "identity.login-account"

    class Event(Aggregate.Event):
        """What happened to an account."""

    class Opened(Event, Aggregate.Created):
        """The account is known here."""

        TOPIC = "identity.login-account-opened"
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
            """Take over the guest."""
            guest_status = GuestStatus(Status(self.status), self.ends_on)
            aggregate.guests[self.guest_id] = GuestOfAccount(
                self.guest_id, self.organisation, guest_status, self.actor_id, self.too_late
            )

    class GuestStatusChanged(Event):
        """What a recognised login reports of the guest has changed (I7)."""

        TOPIC = "identity.login-account-guest-standing-changed"
        guest_id: UUID
        status: str
        ends_on: date | None

        def apply(self, aggregate: LoginAccount) -> None:
            """Take over the standing."""
            guest_status = GuestStatus(Status(self.status), self.ends_on)
            aggregate.guests[self.guest_id] = replace(
                aggregate.guests[self.guest_id], guest_status=guest_status
            )

    class GuestReleased(Event):
        """The guest is not linked to this account any more."""

        TOPIC = "identity.login-account-guest-released"
        guest_id: UUID

        def apply(self, aggregate: LoginAccount) -> None:
            """Forget the guest."""
            del aggregate.guests[self.guest_id]

    class FirstLoginRecorded(Event):
        """Somebody logged in at this organisation for the first time."""

        TOPIC = "identity.login-account-first-login-recorded"
        organisation: str
        actor_id: UUID
        new_actor: bool

        def apply(self, aggregate: LoginAccount) -> None:
            """Remember it, for ever."""
            aggregate.first_logins[self.organisation] = FirstLogin(
                self.organisation, self.actor_id, self.new_actor, self.timestamp
            )

    class ActorReplaced(Event):
        """Two actors were one person: wherever logins went on as `actor_id`, they do as `by` (I6)."""

        TOPIC = "identity.login-account-actor-replaced"
        actor_id: UUID
        by: UUID

        def apply(self, aggregate: LoginAccount) -> None:
            """Take over the actor; a link is no longer too late once there is but one."""
            if aggregate.actor_id == self.actor_id:
                aggregate.actor_id = self.by
            for guest in aggregate.guests.values():
                actor_id = self.by if guest.actor_id == self.actor_id else guest.actor_id
                too_late = guest.too_late and actor_id != aggregate.actor_id
                aggregate.guests[guest.guest_id] = replace(guest, actor_id=actor_id, too_late=too_late)
            for login in aggregate.first_logins.values():
                if login.actor_id == self.actor_id:
                    aggregate.first_logins[login.organisation] = replace(login, actor_id=self.by)

    class Erased(Event):
        """What was personal of the account was destroyed (I9); nothing happens to it any more."""

        TOPIC = "identity.login-account-erased"

        def apply(self, aggregate: LoginAccount) -> None:
            """Forget what is sealed: nobody can open it."""
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
        """Open an account in this stream, under whose key `details` are sealed."""
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
        """The one guest of this account at an organisation (I3)."""
        return next((guest for guest in self.guests.values() if guest.organisation == organisation), None)

    def own_actor_at(self, organisation: str) -> UUID | None:
        """The actor that an earlier first login made there, because nobody was registered (I4.2)."""
        first = self.first_logins.get(organisation)
        return first.actor_id if first is not None and first.new_actor else None

    def link(self, guest_id: UUID, organisation: str, guest_status: GuestStatus, now: datetime) -> Linked:
        """Link a guest; the same pair again is no event (I3). Raises AccountInUse.

        After a first login that made its own actor the link is too late and keeps that actor (I6).
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
        """Report this of the guest from now on (I7); the same again, or of no guest of ours, is no event."""
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
        """Let go of a guest (I3); first logins stay, for they happened."""
        if guest_id in self.guests:
            self.trigger_event(self.GuestReleased, guest_id=guest_id, timestamp=now)

    def replace_actor(self, actor_id: UUID, by: UUID, now: datetime) -> None:
        """Go on as another actor (I6); where this one was not known, that is no event."""
        known = {self.actor_id, *(guest.actor_id for guest in self.guests.values())}
        if actor_id in known | {login.actor_id for login in self.first_logins.values()}:
            self.trigger_event(self.ActorReplaced, actor_id=actor_id, by=by, timestamp=now)

    def erase(self, now: datetime) -> bool:
        """Destroy the account, unless a guest still uses it (I9); whether it was."""
        if self.guests:
            return False
        self.trigger_event(self.Erased, timestamp=now)
        return True

    def record_first_login(
        self, organisation: str, actor_id: UUID, *, new_actor: bool, now: datetime
    ) -> bool:
        """Remember the first login at an organisation; whether this was it."""
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
