"""The use cases and inboxes of both services in memory, paused wherever another process may be first.

Each service has an event log, the tables of its inbox and a worker. Identity's API has an inbox of its own,
as in another process. They ask each other by the real answers, which can be lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from identity.adapters.in_memory import SUBJECT_COLUMNS as IDENTITY_SUBJECTS
from identity.adapters.in_memory import InMemoryAccountDirectory
from identity.adapters.messages import published_messages as identity_messages
from identity.application.dependencies import (
    AccountDetails,
    AccountDirectory,
    BirthDates,
    DirectoryUnavailable,
    KnownGuests,
    NewAccount,
    RegisteredGuest,
    RegistrationUnavailable,
)
from identity.application.dependencies import Context as IdentityContext
from identity.application.dependencies import Dependencies as IdentityDependencies
from identity.application.find_login_account import find_login_account
from identity.application.merge_actors import MergeActors, merge_actors, show_actor_merge
from identity.application.receive_message import receive_message as identity_receives
from identity.application.show_login_account import ShownActor, show_login_account
from identity.domain.errors import AccountNotFound, ActorNotFound
from identity.domain.errors import MergeBlocked as ActorsDiffer
from registration.adapters.in_memory import SUBJECT_COLUMNS as REGISTRATION_SUBJECTS
from registration.adapters.in_memory import UNIQUE_KEYS as REGISTRATION_KEYS
from registration.adapters.in_memory import InMemoryRegistrations, InMemoryTermChecks
from registration.adapters.messages import published_messages as registration_messages
from registration.application import answer_identity
from registration.application.answer_identity import RegistrationsQuery, list_registrations
from registration.application.dependencies import ActorMerge, FoundAccount, IndexState, LoginActor
from registration.application.dependencies import Dependencies as RegistrationDependencies
from registration.application.receive_message import receive_message as registration_receives
from registration.domain.errors import (
    ActorMergeBlocked,
    GuestNotFound,
    LoginAccountsUnavailable,
    ReferencesIncomplete,
)
from shared.event_log import (
    InMemoryDataKeys,
    InMemoryEventLog,
    Metadata,
    NewEvent,
    RecordedEvent,
    SideRow,
    SubjectColumns,
    UniqueKeys,
)
from shared.messaging.envelope import Message
from shared.messaging.errors import FeedUnavailable, TryAgain
from shared.messaging.feed import FeedPage, LogFeed, ToMessage
from shared.messaging.inbox import Inbox
from shared.messaging.signing import SigningKeys
from tests.support.identity import SIDE_TABLES as IDENTITY_KEYS
from tests.support.identity import InMemoryIdentity
from tests.support.in_memory_inbox import INBOX_KEY, InMemoryInboxTables
from tests.support.registration import PERSON_REF_KEY, RegistrationUseCases, registration_over

T = TypeVar("T")
Pause = Callable[..., Awaitable[None]]
"""Waits to be chosen. Its argument is what may be raised instead."""


class PausingLog(InMemoryEventLog):
    """A log that others may overtake before every read and write, and whose writer may die after a write."""

    def __init__(self, keys: UniqueKeys, subjects: SubjectColumns, pause: Pause) -> None:
        super().__init__(keys, subjects)
        self._pause = pause

    async def append(self, events: Sequence[NewEvent], side_rows: Sequence[SideRow] = ()) -> int:
        await self._pause()
        position = await super().append(events, side_rows)
        await self._pause()
        return position

    async def stream(self, stream_id: UUID, *, after_version: int = 0) -> list[RecordedEvent]:
        await self._pause()
        return await super().stream(stream_id, after_version=after_version)


class PausingRegistrations(InMemoryRegistrations):
    """The registration index, which others may change before every look."""

    def __init__(self, log: InMemoryEventLog, pause: Pause) -> None:
        super().__init__(log)
        self._pause = pause

    @property
    def follows_an_alias(self) -> bool:
        """Whether the libraries merged as far as the index knows."""
        return bool(self._aliases)

    async def guests_of(self, organisation: str, person_ref: str) -> Sequence[UUID]:
        await self._pause()
        return await super().guests_of(organisation, person_ref)

    async def guests_asking_for(self, organisation: str, account_id: str) -> Sequence[UUID]:
        await self._pause()
        return await super().guests_asking_for(organisation, account_id)

    async def state(self) -> IndexState:
        await self._pause()
        return await super().state()

    async def follow(self, aliases: Mapping[str, str]) -> None:
        await self._pause()
        await super().follow(aliases)


@dataclass
class PausingFeed:
    """A service's feed as the other one reads it; it may be unreachable."""

    feed: LogFeed
    pause: Pause

    async def after(self, position: int, *, limit: int, wait: float) -> FeedPage:
        return await self._asked(partial(self.feed.after, position, limit=limit, wait=wait))

    async def of_subject(self, subject: UUID, *, after_version: int) -> list[Message]:
        return await self._asked(partial(self.feed.of_subject, subject, after_version=after_version))

    async def _asked(self, question: Callable[[], Awaitable[T]]) -> T:
        await self.pause(FeedUnavailable("no reply"))
        answer = await question()
        await self.pause(FeedUnavailable("the reply was lost"))
        return answer


@dataclass
class AskingRegistration:
    """What identity asks registration, answered by registration's own use cases; a reply may be lost."""

    deps: RegistrationDependencies
    feed: LogFeed
    pause: Pause

    async def registrations(
        self,
        organisation: str,
        *,
        account_id: str | None = None,
        person_ref: str | None = None,
        home_isil: str | None = None,
    ) -> Sequence[RegisteredGuest]:
        query = RegistrationsQuery(organisation, account_id, person_ref, home_isil)
        found = await self._asked(list_registrations, query, self.deps, self.feed)
        return [RegisteredGuest(guest.guest_id, tuple(_sent(guest.messages))) for guest in found]

    async def new_account(self, guest_id: UUID, account_id: str) -> NewAccount | None:
        try:
            found = await self._asked(answer_identity.new_account, guest_id, account_id, self.deps)
        except GuestNotFound:
            return None
        if found is None:
            return None
        return NewAccount(found.account_id, found.username, found.email, found.home_isil, found.merged_isils)

    async def is_home_library(self, guest_id: UUID, isil: str) -> bool:
        try:
            return bool(await self._asked(answer_identity.is_home_library, guest_id, isil, self.deps))
        except GuestNotFound as error:
            raise RegistrationUnavailable("the reply has status 404") from error

    async def is_own_library(self, organisation: str, isil: str) -> bool:
        return bool(await self._asked(answer_identity.is_own_library, organisation, isil, self.deps))

    async def known_guests(self, guest_ids: Sequence[UUID]) -> KnownGuests:
        found = await self._asked(answer_identity.known_guests, guest_ids, self.deps)
        return KnownGuests("/registration/in-memory", frozenset(found))

    async def compare_birth_dates(self, one: Sequence[UUID], other: Sequence[UUID]) -> BirthDates:
        compared = await self._asked(answer_identity.compare_birth_dates, one, other, self.deps)
        return BirthDates(compared.value)

    async def _asked(self, answering: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        await self.pause()
        try:
            answer = await answering(*arguments)
        except ReferencesIncomplete as error:
            raise RegistrationUnavailable("the reply has status 503") from error
        await self.pause(RegistrationUnavailable("the reply was lost"))
        return answer


def _sent(messages: Sequence[Message]) -> Sequence[Message]:
    return [Message.from_json(message.to_json()) for message in messages]


@dataclass
class PausingDirectory(AccountDirectory):
    """The account directory, slow on the way."""

    directory: InMemoryAccountDirectory
    pause: Pause

    async def by_id(self, account_id: str) -> AccountDetails | None:
        await self.pause(DirectoryUnavailable("no reply"))
        return await self.directory.by_id(account_id)

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        await self.pause(DirectoryUnavailable("no reply"))
        return await self.directory.by_username(username, home_isil)


@dataclass
class AskingIdentity:
    """What registration asks identity, answered by identity's own use cases; a reply may be lost."""

    deps: IdentityDependencies
    pause: Pause

    async def find(self, username: str, home_isil: str) -> FoundAccount | None:
        found = await self._asked(find_login_account, username, home_isil, self.deps)
        return found and FoundAccount(
            found.account_id, found.username, found.email, found.home_isil, found.person_ref
        )

    async def by_id(self, account_id: str) -> FoundAccount | None:
        try:
            account = await self._asked(show_login_account, account_id, self.deps)
        except AccountNotFound:
            return None
        return FoundAccount(account.account_id, "", "", account.home_isil, account.person_ref)

    async def actor_merge(self, account_id: str, guest_id: UUID) -> ActorMerge | None:
        try:
            account = await self._asked(show_login_account, account_id, self.deps)
            actor_id = next((g.actor_id for g in account.guests if g.guest_id == guest_id), None)
            if actor_id is None or account.actor_id in {None, actor_id}:
                return None
            command = MergeActors(actor_id, account.actor_id)
            shown = await self._asked(show_actor_merge, command, self.deps)
        except (AccountNotFound, ActorNotFound) as error:
            raise LoginAccountsUnavailable from error
        blocked = shown.blocked.reason if shown.blocked else None
        return ActorMerge(_actor(shown.actor), _actor(shown.into), shown.birth_dates.value, blocked)

    async def merge_actors(self, merge: ActorMerge, correlation_id: UUID) -> None:
        command = MergeActors(merge.actor.actor_id, merge.into.actor_id)
        context = IdentityContext(Metadata("registration", correlation_id))
        try:
            await self._asked(merge_actors, command, context, self.deps)
        except ActorsDiffer as error:
            raise ActorMergeBlocked(error.reason) from error
        except ActorNotFound as error:
            raise LoginAccountsUnavailable from error

    async def _asked(self, answering: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        await self.pause()
        try:
            answer = await answering(*arguments)
        except TryAgain as error:
            raise LoginAccountsUnavailable from error
        await self.pause(LoginAccountsUnavailable())
        return answer


def _actor(shown: ShownActor) -> LoginActor:
    return LoginActor(shown.actor.id, (), {})


@dataclass
class Side:
    """One of the two services as the other one sees it, and the tables of its inbox.

    `worker` receives messages; `at_login` is the inbox of another process on the same tables.
    """

    name: str
    log: PausingLog
    feed: LogFeed
    to_message: ToMessage
    keys: SigningKeys
    tables: InMemoryInboxTables
    worker: Inbox
    at_login: Inbox
    others_feed: PausingFeed


@dataclass
class BothInMemory:
    """Both services. `aliases`: the alias table that each process of registration has read (I10)."""

    registration: RegistrationUseCases
    identity: InMemoryIdentity
    index: PausingRegistrations
    sides: Mapping[str, Side]
    aliases: Mapping[str, dict[str, str]]

    def deps_of(self, process: str) -> RegistrationDependencies:
        """The dependencies of one process of registration: `counter`, `answers` or `worker`."""
        return replace(self.registration.deps, isil_aliases=self.aliases[process])


def both_in_memory(pause: Pause, accounts: Sequence[AccountDetails]) -> BothInMemory:
    """Both services without guests; the account directory has these accounts."""
    aliases: dict[str, dict[str, str]] = {"counter": {}, "answers": {}, "worker": {}}
    log = PausingLog({**REGISTRATION_KEYS, **INBOX_KEY}, REGISTRATION_SUBJECTS, pause)
    index = PausingRegistrations(log, pause)
    registration = registration_over(log, InMemoryDataKeys(log), index, InMemoryTermChecks())
    identity = InMemoryIdentity(*accounts, log=PausingLog(IDENTITY_KEYS, IDENTITY_SUBJECTS, pause))
    asking = AskingRegistration(
        replace(registration.deps, isil_aliases=aliases["answers"]), registration.feed, pause
    )
    identity.deps = replace(
        identity.deps,
        registration=asking,
        directory=PausingDirectory(identity.directory, pause),
        person_ref_key=PERSON_REF_KEY,
    )
    registration.deps = replace(
        registration.deps,
        login_accounts=AskingIdentity(identity.deps, pause),  # type: ignore[arg-type]
    )
    made = BothInMemory(registration, identity, index, {}, aliases)
    made.sides = _sides(made, pause)
    return made


def _sides(both: BothInMemory, pause: Pause) -> Mapping[str, Side]:
    logs = {"registration": both.registration.log, "identity": both.identity.log}
    to_messages = {
        "registration": registration_messages(both.registration.deps.store),
        "identity": identity_messages(both.identity.store),
    }
    feeds = {name: LogFeed(logs[name], to_messages[name]) for name in logs}
    handlers = {
        "registration": partial(registration_receives, deps=both.deps_of("worker")),
        "identity": partial(identity_receives, deps=both.identity.deps),
    }
    sides = {}
    for name, other in (("registration", "identity"), ("identity", "registration")):
        own_log: Any = logs[name]
        tables = InMemoryInboxTables(own_log, pause)
        tables.sources[other] = f"/{other}/{logs[other].log_id}"
        pool: Any = tables
        others_feed = PausingFeed(feeds[other], pause)
        worker, at_login = (Inbox(pool, others_feed, handlers[name], other=other) for _ in range(2))
        keys = SigningKeys([name.encode() * 4])
        sides[name] = Side(
            name, own_log, feeds[name], to_messages[name], keys, tables, worker, at_login, others_feed
        )
    return sides
