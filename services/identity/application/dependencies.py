"""The collaborators that the use cases of identity receive, as protocols, and the values that they exchange.

Every use case is one function: `async def verb(command, context, deps) -> …`. `context` says who caused the
command; `deps` bundles the collaborators. bootstrap.py makes them once; a test can replace any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, TypeVar
from uuid import UUID

from identity.domain.errors import UnknownOrganisation
from shared.event_log import AggregateStore, DataKeys, ErasureLedger, Metadata, SideRow
from shared.kernel.library_card import isil_base
from shared.messaging.envelope import Message
from shared.messaging.errors import TryAgain

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
SideRows = Callable[[UUID], Sequence[SideRow]]

ApplyNow = Callable[[UUID, Sequence[Message]], Awaitable[None]]
"""Synchronous entry to the inbox, used by the login barrier (ADR 0004).

Applies the messages of one guest now, or raises CannotApply.
"""


def no_side_rows(_account_stream: UUID) -> Sequence[SideRow]:
    """Return no rows."""
    return ()


@dataclass(frozen=True, slots=True)
class Context:
    """Who caused a command, and the rows to write with it.

    `side_rows` returns the rows of this one command, such as the row of its Idempotency-Key. Its argument is
    the stream of the account, or of the actor of a merge. These rows are inserted before the use case's own
    rows, so a conflict on them is reported first.
    """

    metadata: Metadata
    side_rows: SideRows = no_side_rows


class RegistrationUnavailable(TryAgain):
    """Registration cannot be asked now, so this request cannot be decided. Try again in a moment."""


class BeingMerged(TryAgain):
    """The guest that has this account was merged into another guest. The message about it is not here yet.

    Rule R18.
    """


class BeingErased(TryAgain):
    """The guest that has this account was erased at registration. The message about it is not here yet.

    Rule I9.
    """


class DirectoryUnavailable(TryAgain):
    """The account directory cannot be asked now. Nothing was saved. Try again in a moment."""


MERGED = "guests-merged.v1"
"""The type of the message that a guest was merged into another guest (R18)."""


@dataclass(frozen=True, slots=True)
class RegisteredGuest:
    """A guest of registration with all of its messages, from stream version 1."""

    guest_id: UUID
    messages: Sequence[Message]

    @property
    def merged(self) -> bool:
        """Whether registration merged this guest into another guest (R18)."""
        return any(message.type == MERGED for message in self.messages)


@dataclass(frozen=True, slots=True)
class NewAccount:
    """The details of an account that registration wants opened. Username and e-mail are personal data.

    `merged_isils`: the libraries that are one with the home library now (R3).
    """

    account_id: str
    username: str
    email: str
    home_isil: str
    merged_isils: Sequence[str] = ()


class BirthDates(StrEnum):
    """How the birth dates of two sets of guests compare. The dates themselves stay at registration."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


class RegistrationFeed(Protocol):
    """The questions to registration, which replies from committed state.

    All methods raise RegistrationUnavailable.
    """

    async def registrations(
        self,
        organisation: str,
        *,
        account_id: str | None = None,
        person_ref: str | None = None,
        home_isil: str | None = None,
    ) -> Sequence[RegisteredGuest]:
        """Find the guests of an organisation by login account or by person.

        A guest is found when a clerk ever asked for this account for it, or when it is this person. Card
        aliases count too, and libraries that merged (I10). `home_isil` is the library of the person's card.
        """

    async def is_own_library(self, organisation: str, isil: str) -> bool:
        """Return whether this library belongs to the organisation, or merged into one that does (I4, R3)."""

    async def new_account(self, guest_id: UUID, account_id: str) -> NewAccount | None:
        """Find the details to open an account with (I2).

        Returns None when this account was never asked for, or when the guest was erased.
        """

    async def is_home_library(self, guest_id: UUID, isil: str) -> bool:
        """Return whether this is the guest's home library, or one that merged into it (R3)."""

    async def compare_birth_dates(self, one: Sequence[UUID], other: Sequence[UUID]) -> BirthDates:
        """Compare the birth dates of two lists of guests (I6)."""


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """The details of a login account. All but the id and the ISIL is personal data.

    `home_card_number` is None for an account that was opened at a registration.
    """

    account_id: str
    username: str
    email: str
    home_isil: str
    home_card_number: str | None


@dataclass(frozen=True, slots=True)
class ById:
    """The account with this id (I1)."""

    account_id: str


@dataclass(frozen=True, slots=True)
class ByUsername:
    """The one account with this username at this home library (I1)."""

    username: str
    home_isil: str


AccountReference = ById | ByUsername

MOST_QUESTIONS_AT_ONCE = 8
"""Of one `find_many` to a directory that takes one question at a time."""


class AccountDirectory(Protocol):
    """The identity provider's own list of accounts. All methods raise DirectoryUnavailable.

    None means: the directory was asked, and it has no such account, or one that is not active. A directory
    inherits `find_many` from this class, unless it has a way to find several accounts by one question; then
    it sets `lists_many`.
    """

    lists_many: bool = False

    async def by_id(self, account_id: str) -> AccountDetails | None:
        """Find the account with this id (I1)."""

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        """Find the one account with this username at this home library (I1)."""

    async def find_many(
        self, references: Collection[AccountReference]
    ) -> Mapping[AccountReference, AccountDetails | None]:
        """Find several accounts; the result has all references.

        One that cannot be used makes all of them unavailable: then ask one by one.
        """

        async def find(reference: AccountReference) -> AccountDetails | None:
            if isinstance(reference, ById):
                return await self.by_id(reference.account_id)
            return await self.by_username(reference.username, reference.home_isil)

        wanted = list(dict.fromkeys(references))
        return dict(zip(wanted, await ask_all(find, wanted), strict=True))


async def ask_all(ask: Callable[[Asked], Awaitable[Answer]], about: Iterable[Asked]) -> list[Answer]:
    """Ask about all of them, MOST_QUESTIONS_AT_ONCE at a time. After the first failure the others end."""
    free = asyncio.Semaphore(MOST_QUESTIONS_AT_ONCE)

    async def one(asked: Asked) -> Answer:
        async with free:
            return await ask(asked)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(asked)) for asked in about]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


class Usernames(Protocol):
    """The index of usernames. The append that opens an account also writes its row here."""

    async def account_of(self, username_key: str) -> str | None:
        """Find the id of the account that has this username."""

    async def holders(
        self, username_keys: Collection[str], account_ids: Collection[str]
    ) -> Mapping[str, str]:
        """Return username key -> account id, for all of these usernames and all of these accounts."""


class Clock(Protocol):
    """A source of the time."""

    def now(self) -> datetime:
        """Return the present moment, in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Organisations:
    """Organisation code -> the ISILs of its home libraries, from the settings."""

    isils: Mapping[str, frozenset[str]]

    def require(self, organisation: str) -> None:
        """Raise UnknownOrganisation unless the settings hold this organisation."""
        if organisation not in self.isils:
            raise UnknownOrganisation

    def is_home_of(self, organisation: str, home_isil: str) -> bool:
        """Return whether this home library belongs to this organisation (I4, step 2)."""
        own = {isil_base(isil) for isil in self.isils.get(organisation, frozenset())}
        return isil_base(home_isil) in own


NO_LEDGER = ErasureLedger()


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The collaborators of the use cases."""

    store: AggregateStore
    data_keys: DataKeys
    registration: RegistrationFeed
    directory: AccountDirectory
    usernames: Usernames
    organisations: Organisations
    person_ref_key: bytes
    clock: Clock
    erasure_ledger: ErasureLedger = NO_LEDGER
