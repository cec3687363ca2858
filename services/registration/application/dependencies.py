"""What the use cases of registration are given, and what they give back.

Every use case is one function: `async def verb(command, context, registration) -> …`. `context` says for
whom it is done; `registration` bundles the collaborators, made once in bootstrap.py, any of them a fake in
tests. A write answers `Written`; to show the guest afterwards, call `show_guest`, which reads the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from registration.domain.errors import Candidate
from registration.domain.verdict import Verdict
from shared.event_log import AggregateStore, DataKeys, ErasureLedger, Metadata, SideRow

REGISTRATION_TAKEN = "registrations_pkey"
"""The unique key on (organisation, person_ref): one guest per person per library (R10)."""

SideRows = Callable[[UUID], Sequence[SideRow]]


def no_side_rows(_guest_id: UUID) -> Sequence[SideRow]:
    """Nothing to write along."""
    return ()


@dataclass(frozen=True, slots=True)
class Context:
    """For whom something is done: the organisation whose guests are seen (R20), and who caused it.

    `side_rows` gives the rows that belong to this very command, once the guest's id is known: the row of an
    Idempotency-Key. They come first, so a SideRowConflict on them is told before any of ours.
    """

    organisation: str
    metadata: Metadata
    side_rows: SideRows = no_side_rows


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did: to which guest, and the log's position after it (`Event-Position`)."""

    guest_id: UUID
    position: int


@dataclass(frozen=True, slots=True)
class Organisation:
    """A guest library, from the settings. `branches`: code -> name."""

    code: str
    name: str
    isils: frozenset[str]
    branches: Mapping[str, str]
    grants_strips: bool = True


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """A login account that a username found; username and e-mail are personal."""

    account_id: str
    username: str
    email: str


@dataclass(frozen=True, slots=True)
class TermCheck:
    """How the last question about a guest went: state of the run, not an event (R12).

    `verdict`: "valid", "refused", "not_found" or "unavailable"; `stale`: the term is kept without an answer.
    """

    verdict: str
    checked_at: datetime
    stale: bool = False
    reasons: tuple[str, ...] = ()


class HomeLibraries(Protocol):
    """All home libraries, whatever they speak."""

    async def ask(self, isil: str, card_number: str) -> Verdict:
        """Ask the library of this ISIL about a card (R4). Raises UnknownHomeLibrary, nothing else."""

    def connections(self, isil: str) -> int:
        """Say how many questions this library takes at once. Raises UnknownHomeLibrary."""


class CardPrefixes(Protocol):
    """The table of card prefixes (R2)."""

    async def candidates(self, prefixes: Sequence[str]) -> Sequence[Candidate]:
        """Find the libraries whose cards carry one of these prefixes, each once."""

    async def libraries(self) -> Sequence[Candidate]:
        """List the libraries of the table, each once."""


class LoginAccounts(Protocol):
    """Identity's login accounts."""

    async def find(self, username: str, home_isil: str) -> FoundAccount | None:
        """Find by exact username at a home library. Raises LoginAccountsUnavailable."""


class Registrations(Protocol):
    """The index that is written along with every registration: committed state, never a lagging view."""

    async def guest_of(self, organisation: str, person_ref: str) -> UUID | None:
        """Find the guest of a person at an organisation, by any card number (R10)."""

    async def guests_asking_for(self, organisation: str, account_id: str) -> Sequence[UUID]:
        """Find the guests for whom this login account was ever asked at an organisation."""


class TermChecks(Protocol):
    """How the last question about each guest went."""

    async def last(self, guest_id: UUID) -> TermCheck | None:
        """Give the last check; None when there was none."""

    async def record(self, guest_id: UUID, check: TermCheck) -> None:
        """Remember this check, unless a later one is known."""


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Give the moment, in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)


NO_LEDGER = ErasureLedger()


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The collaborators of the use cases.

    `isil_aliases`: base of a library that merged -> base of the one it is part of now (R3). `organisations`:
    code -> guest library. `home_library_names`: base of a library that can be asked -> its name, which may be
    empty.
    """

    store: AggregateStore
    data_keys: DataKeys
    home_libraries: HomeLibraries
    card_prefixes: CardPrefixes
    login_accounts: LoginAccounts
    registrations: Registrations
    term_checks: TermChecks
    organisations: Mapping[str, Organisation]
    isil_aliases: Mapping[str, str]
    person_ref_key: bytes
    clock: Clock
    erasure_ledger: ErasureLedger = NO_LEDGER
    home_library_names: Mapping[str, str] = field(default_factory=dict)
