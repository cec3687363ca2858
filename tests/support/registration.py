"""A counter: the use cases as in production, with home libraries that say what a test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from registration.adapters.account_handles import SealedAccountHandles, SealedReferrals
from registration.adapters.in_memory import (
    SUBJECT_COLUMNS,
    UNIQUE_KEYS,
    InMemoryHomeLibraries,
    InMemoryLookups,
    InMemoryRegistrations,
    InMemoryTermChecks,
    SetClock,
)
from registration.adapters.messages import published_messages
from registration.application.check_term import check_term
from registration.application.dependencies import (
    ActorMerge,
    Context,
    Dependencies,
    FoundAccount,
    GuestAccount,
    ListedLibrary,
    Organisation,
    Registrations,
    TermChecks,
)
from registration.application.deregister_guest import deregister_guest
from registration.application.register_guest import RegisterGuest, register_guest
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.application.show_guest import GuestView, show_guest
from registration.domain.errors import Candidate
from registration.domain.login_link import LoginAccountChoice, NoAccount
from registration.domain.verdict import PatronDetails, Reason, Refused, Valid, Verdict
from shared.event_log import (
    AggregateStore,
    CommandResult,
    DataKeys,
    EventLog,
    InMemoryDataKeys,
    InMemoryEventLog,
    Metadata,
    make_mapper,
)
from shared.kernel.errors import RuleBroken
from shared.messaging.feed import LogFeed

CARD = "0990139305"
PERSON_REF_KEY = b"0" * 32
GRONINGEN = "NL-070288"
MERGED = "NL-070299"
ALIASES = {MERGED: GRONINGEN}
DRENTHE = Organisation("1001", "Biblionet Drenthe", frozenset({"NL-070297"}), {"9453": "Roden"})
OTHER = Organisation(
    "2002", "Andere bibliotheek", frozenset({"NL-070111"}), {"1": "Centrum"}, grants_strips=False
)
SEPT_15 = date(2025, 9, 15)
HANDLE_LIFETIME = timedelta(minutes=15)
CANCELLED = Refused((Reason.EXPIRED,), because_ended=True)
JAN = PatronDetails("J. Jansen", date(1980, 2, 3), "Brink 1, Groningen", "jan@example.org")


class WatchedHomeLibraries(InMemoryHomeLibraries):
    """Home libraries in memory that remember what they were asked."""

    def __init__(self) -> None:
        super().__init__([GRONINGEN, "NL-083424"])
        self.asked: list[tuple[str, str]] = []

    async def ask(self, isil: str, card_number: str) -> Verdict:
        self.asked.append((isil, card_number))
        return await super().ask(isil, card_number)


class ListedPrefixes:
    """A table of card prefixes in a dictionary."""

    def __init__(self) -> None:
        self.by_prefix: dict[str, list[Candidate]] = {}
        self.listed: Sequence[ListedLibrary] = ()

    async def candidates(self, prefixes: Sequence[str]) -> Sequence[Candidate]:
        return [candidate for prefix in prefixes for candidate in self.by_prefix.get(prefix, [])]

    async def libraries(self) -> Sequence[ListedLibrary]:
        return self.listed


class ListedPeople:
    """Guests who are found whoever is looked for; the use case compares them with the person."""

    def __init__(self) -> None:
        self.guest_ids: list[UUID] = []

    async def like(self, organisation: str, details: PatronDetails) -> Sequence[UUID]:
        return self.guest_ids


class ListedAccounts:
    """Login accounts in a dictionary."""

    def __init__(self) -> None:
        self.by_name: dict[tuple[str, str], FoundAccount] = {}
        self.merges: dict[UUID, ActorMerge] = {}
        self.merged: list[tuple[ActorMerge, UUID]] = []
        self.fails: Exception | None = None

    async def find(self, username: str, home_isil: str) -> FoundAccount | None:
        return self.by_name.get((username, home_isil))

    async def by_id(self, account_id: str) -> FoundAccount | None:
        return next((found for found in self.by_name.values() if found.account_id == account_id), None)

    async def names(self, account_ids: Sequence[str]) -> Sequence[GuestAccount]:
        found = [await self.by_id(account_id) for account_id in account_ids]
        return [
            GuestAccount(account.account_id, "found", account.username, account.email)
            for account in found
            if account
        ]

    async def with_username(self, username: str, home_isils: Sequence[str]) -> Sequence[str]:
        found = [await self.find(username, isil) for isil in home_isils]
        return [account.account_id for account in found if account]

    async def actor_merge(self, account_id: str, guest_id: UUID) -> ActorMerge | None:
        return self.merges.get(guest_id)

    async def merge_actors(self, merge: ActorMerge, correlation_id: UUID) -> None:
        self.merged.append((merge, correlation_id))
        if self.fails is not None:
            raise self.fails


@dataclass
class RegistrationUseCases:
    """Registration's use cases with their fakes, and short ways to use them."""

    deps: Dependencies
    log: EventLog
    home: WatchedHomeLibraries
    prefixes: ListedPrefixes
    accounts: ListedAccounts
    people: ListedPeople
    clock: SetClock
    feed: LogFeed
    correlation_id: UUID = field(default_factory=uuid4)

    def context(self, organisation: str = "1001") -> Context:
        return Context(organisation, Metadata("clerk", self.correlation_id))

    def says(self, verdict: Verdict, card: str = CARD) -> None:
        """The verdict of home about a card from now on."""
        self.home.answers(GRONINGEN, card, verdict)

    async def register(
        self, card: str = CARD, account: LoginAccountChoice | None = None, organisation: str = "1001"
    ) -> UUID:
        """Register a card at the first branch of an organisation."""
        branch = next(iter(self.deps.organisations[organisation].branches))
        command = registering(card, account, branch=branch)
        return (await register_guest(command, self.context(organisation), self.deps)).resource_id

    async def deregister(self, guest_id: UUID, reason: str = "vergissing") -> None:
        await deregister_guest(guest_id, reason, self.context(), self.deps)

    async def check(self, guest_id: UUID, day: date = SEPT_15) -> GuestView:
        """Open a guest on this day, or a second later when it is that day already: home is asked."""
        self.clock.moment = max(on_day(day), self.clock.moment + timedelta(seconds=1))
        await check_term(guest_id, self.context(), self.deps)
        return await self.show(guest_id)

    async def register_and_expire(self) -> UUID:
        """A guest whose membership at home ended, and began again since."""
        guest_id = await self.register()
        self.says(CANCELLED)
        assert (await self.check(guest_id)).status == "expired"
        self.says(member())
        return guest_id

    async def reregister(
        self, guest_id: UUID, patron_type: str = "04", account: LoginAccountChoice | None = None
    ) -> CommandResult:
        command = ReregisterGuest(guest_id, patron_type, account)
        return await reregister_guest(command, self.context(), self.deps)

    async def show(self, guest_id: UUID, organisation: str = "1001") -> GuestView:
        return await show_guest(guest_id, organisation, self.deps)

    async def topics(self) -> list[str]:
        """What has happened so far, in all streams."""
        return [event.event_type.removeprefix("registration.") for event in await self.log.read(0, 10_000)]


def registering(
    card: str = CARD,
    account: LoginAccountChoice | None = None,
    *,
    home_isil: str | None = GRONINGEN,
    branch: str = "9453",
    chip: bool = True,
) -> RegisterGuest:
    return RegisterGuest(card, home_isil, branch, chip, True, account or NoAccount(), "346")


def member(card: str = CARD, ends_on: date | None = None) -> Valid:
    return Valid(JAN, ends_on, card)


def on_day(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 10, tzinfo=UTC)


def registration_in_memory() -> RegistrationUseCases:
    """A fresh counter in memory, on 11 September 2025, with the seed's member at home."""
    log = InMemoryEventLog(UNIQUE_KEYS, SUBJECT_COLUMNS)
    return registration_over(
        log, InMemoryDataKeys(log), InMemoryRegistrations(log, ALIASES), InMemoryTermChecks()
    )


def registration_over(
    log: EventLog, data_keys: DataKeys, registrations: Registrations, term_checks: TermChecks
) -> RegistrationUseCases:
    """The same over any log."""
    store = AggregateStore(log, make_mapper(), data_keys.unwrap)
    home, prefixes, accounts = WatchedHomeLibraries(), ListedPrefixes(), ListedAccounts()
    people = ListedPeople()
    clock, lookups = SetClock(on_day(date(2025, 9, 11))), InMemoryLookups()
    deps = Dependencies(
        store=store,
        data_keys=data_keys,
        home_libraries=home,
        card_prefixes=prefixes,
        login_accounts=accounts,
        account_handles=SealedAccountHandles([bytes(32)], HANDLE_LIFETIME, clock),
        referrals=SealedReferrals(PERSON_REF_KEY, clock),
        registrations=registrations,
        guests_by_person=people,
        term_checks=term_checks,
        lookups=lookups,
        organisations={"1001": DRENTHE, "2002": OTHER},
        isil_aliases=ALIASES,
        person_ref_key=PERSON_REF_KEY,
        clock=clock,
    )
    made = RegistrationUseCases(
        deps, log, home, prefixes, accounts, people, clock, LogFeed(log, published_messages(store))
    )
    made.says(member())
    return made


async def refusal(
    in_memory_registration: RegistrationUseCases, command: RegisterGuest, organisation: str = "1001"
) -> RuleBroken:
    """The rule that was broken, having checked that nothing was written."""
    position = await in_memory_registration.log.position()
    rows = _rows(in_memory_registration)
    with pytest.raises(RuleBroken) as caught:
        await register_guest(
            command, in_memory_registration.context(organisation), in_memory_registration.deps
        )
    assert await in_memory_registration.log.position() == position
    assert _rows(in_memory_registration) == rows
    return caught.value


def _rows(in_memory_registration: RegistrationUseCases) -> list[int]:
    assert isinstance(in_memory_registration.log, InMemoryEventLog)
    return [
        len(in_memory_registration.log.rows(table))
        for table in ("registrations", "registration_accounts", "data_keys")
    ]
