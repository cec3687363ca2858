"""What the use cases of identity are given, and what they give back.

Every use case is one function: `async def verb(command, context, identity) -> …`. `context` says for whom it
is done; `identity` bundles the collaborators, made once in bootstrap.py, any of them a fake in tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from shared.event_log import AggregateStore, DataKeys, ErasureLedger, Metadata, SideRow
from shared.kernel.library_card import isil_base
from shared.messaging.envelope import Message
from shared.messaging.errors import TryAgain

SideRows = Callable[[UUID], Sequence[SideRow]]

ApplyNow = Callable[[UUID, Sequence[Message]], Awaitable[None]]
"""The inbox's second door: applies a guest's messages now, or raises CannotApply (A6)."""


def no_side_rows(_account_stream: UUID) -> Sequence[SideRow]:
    """Nothing to write along."""
    return ()


@dataclass(frozen=True, slots=True)
class Context:
    """Who caused something.

    `side_rows` gives the rows that belong to this very command, once the account's stream is known: the row
    of an Idempotency-Key. They come first, so a SideRowConflict on them is told before any of ours.
    """

    metadata: Metadata
    side_rows: SideRows = no_side_rows


class RegistrationUnavailable(TryAgain):
    """Registration cannot be asked now, so this login cannot be decided: try again."""


class BeingMerged(TryAgain):
    """The guest who has this account was merged into another; that it is free is still to be heard (R18)."""


class BeingErased(TryAgain):
    """The guest who has this account was erased at registration; here that is still to be heard."""


class DirectoryUnavailable(TryAgain):
    """The account directory cannot be asked now: try again."""


@dataclass(frozen=True, slots=True)
class RegisteredGuest:
    """A guest of registration with all of its messages, from the first version on."""

    guest_id: UUID
    messages: Sequence[Message]


@dataclass(frozen=True, slots=True)
class NewAccount:
    """What registration was asked to open an account with; username and e-mail are personal."""

    account_id: str
    username: str
    email: str
    home_isil: str


class BirthDates(StrEnum):
    """How the birth dates of two sets of guests compare; the dates themselves stay at registration."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


class RegistrationFeed(Protocol):
    """Registration's answers from what it has committed. All raise RegistrationUnavailable."""

    async def registrations(
        self, organisation: str, *, account_id: str | None = None, person_ref: str | None = None
    ) -> Sequence[RegisteredGuest]:
        """The guests there for whom this account was ever asked, or who are this person (aliases too)."""

    async def new_account(self, guest_id: UUID, account_id: str) -> NewAccount | None:
        """What the account is to be opened with (I2); None when it was never asked for, or erased."""

    async def compare_birth_dates(self, one: Sequence[UUID], other: Sequence[UUID]) -> BirthDates:
        """Whether these guests and those were born on the same day (I6)."""


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """What is known of a login account. All but id and ISIL is personal. No card: opened at registration."""

    account_id: str
    username: str
    email: str
    home_isil: str
    home_card_number: str | None


class AccountDirectory(Protocol):
    """The identity provider's own list of accounts. Both raise DirectoryUnavailable."""

    async def by_id(self, account_id: str) -> AccountDetails | None:
        """The account with this id (I1)."""

    async def by_username(self, username: str, home_isil: str) -> AccountDetails | None:
        """Exactly one hit or none (I1)."""


class Usernames(Protocol):
    """The index of usernames that is written along with every account opened here."""

    async def account_of(self, username_key: str) -> str | None:
        """The account that holds a username."""

    async def holders(
        self, username_keys: Collection[str], account_ids: Collection[str]
    ) -> Mapping[str, str]:
        """Username key -> account id, of all these usernames and of all these accounts."""


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Give the moment, in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Organisations:
    """Which home libraries belong to which organisation, from the settings: code -> ISILs."""

    isils: Mapping[str, frozenset[str]]

    def is_home_of(self, organisation: str, home_isil: str) -> bool:
        """Whether this organisation is the home of that library's members (I4.2)."""
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
