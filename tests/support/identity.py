"""Identity without servers, and a registration that says what the tests want to have happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

from identity.adapters.in_memory import (
    SUBJECT_COLUMNS,
    UNIQUE_KEYS,
    InMemoryAccountDirectory,
    InMemoryRegistration,
    InMemoryUsernames,
)
from identity.adapters.messages import published_messages
from identity.application.dependencies import AccountDetails, Context, Dependencies, NewAccount, Organisations
from identity.application.log_in import LoggedIn, LogIn, log_in
from identity.application.receive_message import receive_message
from identity.application.repository import find_account
from identity.domain.guest_link import GuestLink
from identity.domain.login_account import LoginAccount
from shared.event_log import (
    AggregateStore,
    InMemoryDataKeys,
    InMemoryEventLog,
    Metadata,
    SideRow,
    SideRowConflict,
    VersionConflict,
    make_mapper,
)
from shared.kernel.library_card import isil_base, person_ref
from shared.messaging.envelope import Message
from shared.messaging.errors import CannotApply
from shared.messaging.feed import LogFeed

GUEST_ORGANISATION = "1001"
HOME_ORGANISATION = "2002"
HOME_ISIL = "NL-070288"
ORGANISATIONS = Organisations(
    {
        GUEST_ORGANISATION: frozenset({"NL-070297"}),
        HOME_ORGANISATION: frozenset({HOME_ISIL}),
        "3003": frozenset(),
        "4004": frozenset(),
    }
)
PERSON_REF_KEY = bytes(range(32))
ENDS_ON = date(2025, 12, 11)
INBOX_KEY = {"inbox_pkey": ("inbox", ("guest_id", "stream_version"))}
SIDE_TABLES = {**UNIQUE_KEYS, **INBOX_KEY}
WISECAT = Metadata("wisecat", UUID(int=3))


class FixedClock:
    """A clock that does not move."""

    def __init__(self, at: datetime = datetime(2025, 9, 11, 12, tzinfo=UTC)) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


def account_details(name: str, card: str | None = None, home_isil: str = HOME_ISIL) -> AccountDetails:
    """An account `acc-<name>` whose home card is its name's, unless said otherwise."""
    return AccountDetails(f"acc-{name}", name, f"{name}@example.org", home_isil, card or card_of(name))


def card_of(name: str) -> str:
    """A card number made from a name."""
    return name.encode().hex()[:20]


def person(name: str, isil: str = HOME_ISIL) -> str:
    """The reference of the person with the card of this name."""
    return person_ref(PERSON_REF_KEY, isil_base(isil), card_of(name))


@dataclass
class SimulatedCounter:
    """A counter of registration: commits its messages at once, delivers them when a test asks for it."""

    feed: InMemoryRegistration

    def registers(
        self,
        name: str,
        choice: dict[str, Any] | None = None,
        organisation: str = GUEST_ORGANISATION,
        home_isil: str = HOME_ISIL,
        card_isil: str = HOME_ISIL,
    ) -> UUID:
        """A person becomes a guest; without a choice no account is asked for.

        `card_isil`: the library under which the card is known at registration.
        """
        guest_id = self._new_guest(name, organisation, home_isil, card_isil)
        self.registers_afresh(guest_id, choice)
        return guest_id

    def imports(
        self, name: str, choice: dict[str, Any] | None = None, *, expired_on: date | None = None
    ) -> UUID:
        """A guest of before is taken over from another system."""
        guest_id = self._new_guest(name, GUEST_ORGANISATION, HOME_ISIL, HOME_ISIL)
        self.happens(
            guest_id,
            "guest-imported.v1",
            organisation=GUEST_ORGANISATION,
            branch="9453",
            person_ref=self._people[guest_id],
            source="old-system",
            registered_on="2023-02-01",
            term={"begin": "2025-02-01", "end": ENDS_ON.isoformat(), "provisional": False},
            expired_on=expired_on and expired_on.isoformat(),
            login_account=choice or {"choice": "none", "account_id": None},
        )
        return guest_id

    def _new_guest(self, name: str, organisation: str, home_isil: str, card_isil: str) -> UUID:
        guest_id = uuid4()
        self.feed.messages[guest_id] = []
        self.feed.home_libraries[guest_id] = home_isil
        self.feed.by_person.setdefault((organisation, person(name, card_isil)), []).append(guest_id)
        self._organisations[guest_id] = organisation
        self._people[guest_id] = person(name, card_isil)
        return guest_id

    _organisations: dict[UUID, str] = field(default_factory=dict)
    _people: dict[UUID, str] = field(default_factory=dict)

    def registers_afresh(self, guest_id: UUID, choice: dict[str, Any] | None = None) -> Message:
        """The guest's registration, the first or one after a deregistration."""
        return self.happens(
            guest_id,
            "guest-registered.v1",
            organisation=self._organisations[guest_id],
            branch="9453",
            person_ref=self._people[guest_id],
            term={"begin": "2025-09-11", "end": ENDS_ON.isoformat(), "provisional": True},
            login_account=choice or {"choice": "none", "account_id": None},
        )

    def asks_link(self, guest_id: UUID, choice: dict[str, Any]) -> Message:
        """A clerk asks for an account."""
        return self.happens(guest_id, "login-account-link-requested.v1", login_account=choice)

    def happens(self, guest_id: UUID, kind: str, **data: Any) -> Message:
        """Something happens to the guest, and is committed."""
        messages = self.feed.messages[guest_id]
        message = Message(
            id=uuid4(),
            source="/registration/tests",
            type=kind,
            subject=guest_id,
            time=datetime(2025, 9, 11, tzinfo=UTC),
            stream_version=len(messages) + 1,
            position=1 + sum(len(each) for each in self.feed.messages.values()),
            correlation_id=uuid4(),
            causation_id=None,
            data=data,
        )
        messages.append(message)
        self._index(guest_id, data.get("login_account"))
        return message

    def erases(self, guest_id: UUID) -> Message:
        """Personal data is destroyed: the guest's messages say so from now on, and nothing finds it."""
        erased = self.happens(guest_id, "personal-data-erased.v1")
        messages = self.feed.messages[guest_id]
        messages[:] = [replace(message, erased=True) for message in messages]
        for index in (self.feed.by_account, self.feed.by_person):
            for guests in index.values():
                guests[:] = [guest for guest in guests if guest != guest_id]
        for link_request in [
            link_request for link_request in self.feed.new_accounts if link_request[0] == guest_id
        ]:
            del self.feed.new_accounts[link_request]
        return replace(erased, erased=True)

    def _index(self, guest_id: UUID, choice: dict[str, Any] | None) -> None:
        if choice and choice["account_id"]:
            asked = self.feed.by_account.setdefault((self._organisations[guest_id], choice["account_id"]), [])
            if guest_id not in asked:
                asked.append(guest_id)

    def wants_new_account(self, guest_id: UUID, account_id: str, username: str) -> None:
        """What registration keeps encrypted for a choice `new`."""
        self.feed.new_accounts[guest_id, account_id] = NewAccount(
            account_id, username, f"{username}@example.org", HOME_ISIL
        )


def existing(name: str) -> dict[str, Any]:
    """The choice of an existing account."""
    return {"choice": "existing", "account_id": f"acc-{name}"}


def new(account_id: str) -> dict[str, Any]:
    """The choice of a new account, with the id that registration created."""
    return {"choice": "new", "account_id": account_id}


class InMemoryIdentity:
    """All of identity in memory: the real use cases, fakes around them."""

    def __init__(self, *accounts: AccountDetails, log: InMemoryEventLog | None = None) -> None:
        self.log = log or InMemoryEventLog(SIDE_TABLES, SUBJECT_COLUMNS)
        self.data_keys = InMemoryDataKeys(self.log)
        self.store = AggregateStore(self.log, make_mapper(), self.data_keys.unwrap)
        self.directory = InMemoryAccountDirectory(list(accounts))
        self.registration = InMemoryRegistration()
        self.counter = SimulatedCounter(self.registration)
        self.deps = Dependencies(
            store=self.store,
            data_keys=self.data_keys,
            registration=self.registration,
            directory=self.directory,
            usernames=InMemoryUsernames(self.log),
            organisations=ORGANISATIONS,
            person_ref_key=PERSON_REF_KEY,
            clock=FixedClock(),
        )

    async def deliver(self, message: Message) -> None:
        """One message, applied by the real handler; known ones are dropped, as the inbox does."""
        row = SideRow(
            "inbox",
            {"guest_id": message.subject, "stream_version": message.stream_version, "event_id": message.id},
        )
        while True:
            try:
                return await receive_message(message, row, deps=self.deps)
            except VersionConflict:
                continue
            except SideRowConflict as conflict:
                if conflict.constraint != "inbox_pkey":
                    raise
                return None

    async def receive(self, message: Message) -> None:
        """One message in any order, as `Inbox.receive` promises it: known dropped, gaps filled first."""
        known = self.version_of(message.subject)
        if message.stream_version > known:
            committed = self.registration.messages[message.subject]
            await self.apply_now(message.subject, committed[known : message.stream_version])

    def version_of(self, guest_id: UUID) -> int:
        """How far the inbox is with this guest."""
        return sum(1 for row in self.log.rows("inbox") if row["guest_id"] == guest_id)

    async def apply_now(self, guest_id: UUID, messages: Sequence[Message]) -> None:
        """The barrier, as `Inbox.apply_now` promises it."""
        try:
            for message in messages:
                if message.stream_version > self.version_of(guest_id):
                    await self.deliver(message)
        except Exception as error:
            raise CannotApply(str(error)) from error

    async def deliver_all(self, guest_id: UUID) -> None:
        """Everything that registration has committed of this guest."""
        await self.apply_now(guest_id, self.registration.messages[guest_id])

    async def logs_in(self, name: str, organisation: str = GUEST_ORGANISATION) -> LoggedIn:
        """A login with the account `acc-<name>`."""
        return await log_in(LogIn(f"acc-{name}", organisation), Context(WISECAT), self.deps, self.apply_now)

    async def link(self, guest_id: UUID) -> GuestLink:
        return await self.store.load(GuestLink, guest_id)

    async def account(self, name: str) -> LoginAccount:
        found = await find_account(f"acc-{name}", self.deps)
        assert found is not None
        return found.account

    async def published(self, guest_id: UUID) -> list[tuple[str, dict[str, Any]]]:
        """What identity publishes about a guest: types and data, in order."""
        feed = LogFeed(self.log, published_messages(self.store))
        return [(each.type, each.data) for each in await feed.of_subject(guest_id, after_version=0)]

    async def topics(self) -> list[str]:
        """Every event that was written, in order."""
        return [event.event_type for event in await self.log.read(0, 10_000)]
