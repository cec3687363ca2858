"""What the use cases of registration depend on.

A use case is one function: `async def verb(command, context, deps) -> …`. `context` has the organisation and
the caller. `deps` bundles the collaborators; bootstrap.py builds them once, and tests replace any of them. A
write returns `CommandResult`; `show_guest` reads the guest afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Literal, Protocol
from uuid import UUID

from registration.domain.errors import Candidate
from registration.domain.verdict import PatronDetails, Verdict
from shared.event_log import AggregateStore, DataKeys, ErasureLedger, Metadata, SideRow
from shared.kernel.login_account import Referral

REGISTRATION_TAKEN = "registrations_pkey"
"""The unique key on (organisation, person_ref): one guest per person per library (R10)."""

SideRows = Callable[[UUID], Sequence[SideRow]]


def no_side_rows(_guest_id: UUID) -> Sequence[SideRow]:
    """Return no rows."""
    return ()


@dataclass(frozen=True, slots=True)
class Context:
    """The organisation whose guests are visible (R20), and who caused the command.

    `side_rows` returns the rows that belong to this command, once the guest's id is known: the row of its
    Idempotency-Key. They are inserted first, so that a conflict of theirs is reported first.
    """

    organisation: str
    metadata: Metadata
    side_rows: SideRows = no_side_rows


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
    """A login account of identity. Username and e-mail are personal; they may be erased (empty).

    `person_ref`: the person whose home card the account is on.
    """

    account_id: str
    username: str
    email: str
    home_isil: str
    person_ref: str


@dataclass(frozen=True, slots=True)
class GuestAccount:
    """A login account that was ever asked for a guest. Username and e-mail are identity's (R26), never kept.

    `state`: "found"; "unknown", identity has no such account; "unavailable", identity did not reply in time.
    A new account that identity has not opened is "found" with what the clerk asked for. After an erasure
    username and e-mail are empty.
    """

    account_id: str
    state: Literal["found", "unknown", "unavailable"]
    username: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class LoginActor:
    """One of the two actors behind a login that was linked too late (I6).

    `guests`: whose logins use it, with their organisations. `first_logins`: organisation -> moment.
    """

    actor_id: UUID
    guests: Sequence[tuple[UUID, str]]
    first_logins: Mapping[str, datetime]

    def seen_from(self, organisation: str) -> SeenActor:
        """Return what staff of this organisation may see: of others only how many there are (R20)."""
        elsewhere = {other for _, other in self.guests} | self.first_logins.keys()
        return SeenActor(
            self.first_logins.get(organisation),
            guest_here=any(other == organisation for _, other in self.guests),
            elsewhere=len(elsewhere - {organisation}),
        )


@dataclass(frozen=True, slots=True)
class SeenActor:
    """An actor as one organisation sees it. `elsewhere`: how many others have a guest or a login of it."""

    first_login_at: datetime | None
    guest_here: bool
    elsewhere: int


@dataclass(frozen=True, slots=True)
class ActorMerge:
    """A merge of two actors: `actor` becomes a merged record of `into`, the account's own actor.

    `birth_dates`: how the birth dates of their guests compare. `blocked`: identity's reason against it.
    """

    actor: LoginActor
    into: LoginActor
    birth_dates: Literal["same", "different", "unknown"]
    blocked: str | None = None


@dataclass(frozen=True, slots=True)
class TermCheck:
    """The outcome of the last term check of a guest: state of the check, not an event (R12).

    `verdict`: "valid", "refused", "not_found" or "unavailable". `stale`: no usable reply; the term was kept.
    `other_guest`: the guest whose card the reply named (R10). `answered_at`: the last moment at which the
    library named this person, in this check or an earlier one; None when no check recorded it. `changed`:
    what the reply changed of the guest, names of `home_reply.CHANGES`; None when that is not known.
    """

    verdict: str
    checked_at: datetime
    stale: bool = False
    reasons: tuple[str, ...] = ()
    other_guest: UUID | None = None
    answered_at: datetime | None = None
    changed: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class LastReply:
    """The last time a home library was asked. `verdict`: its kind; `reason`: why it is unavailable."""

    at: datetime
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class LibraryState:
    """A home library as this process knows it. `left_alone`: it is not asked for a while (R4)."""

    left_alone: bool = False
    last: LastReply | None = None


class HomeLibraries(Protocol):
    """All home libraries, whatever their protocol."""

    async def ask(self, isil: str, card_number: str) -> Verdict:
        """Ask the library with this ISIL about a card (R4). Raises UnknownHomeLibrary and nothing else."""

    def connections(self, isil: str) -> int:
        """Return how many requests this library accepts at once. Raises UnknownHomeLibrary."""

    def states(self) -> Mapping[str, LibraryState]:
        """Return the state of each library, by ISIL base."""


@dataclass(frozen=True, slots=True)
class ListedLibrary:
    """A library of the table of card prefixes (R2).

    `organisation`: the code of the organisation that it is part of. `place` may be empty.
    """

    isil: str
    name: str
    organisation: str
    place: str
    updated_on: date
    prefixes: Sequence[str]


class CardPrefixes(Protocol):
    """The table of card prefixes (R2)."""

    async def candidates(self, prefixes: Sequence[str]) -> Sequence[Candidate]:
        """Return the libraries whose cards have one of these prefixes, without repeats."""

    async def libraries(self) -> Sequence[ListedLibrary]:
        """Return the libraries of the table, each ISIL once. They may be some seconds old."""


class LoginAccounts(Protocol):
    """Identity's login accounts."""

    async def find(self, username: str, home_isil: str) -> FoundAccount | None:
        """Find an account by its exact username at a home library. Raises LoginAccountsUnavailable."""

    async def by_id(self, account_id: str) -> FoundAccount | None:
        """Find an account by its id. Raises LoginAccountsUnavailable."""

    async def names(self, account_ids: Sequence[str]) -> Sequence[GuestAccount]:
        """Return what these accounts are called, at most `MOST_NAMED`. Raises LoginAccountsUnavailable."""

    async def with_username(self, username: str, home_isils: Sequence[str]) -> Sequence[str]:
        """Return ids of accounts that were linked or logged in, with this username at one of the libraries.

        There are at most `MOST_LIBRARIES` libraries. Raises LoginAccountsUnavailable.
        """

    async def actor_merge(self, account_id: str, guest_id: UUID) -> ActorMerge | None:
        """Show the merge of the guest's actor into the account's own; None if they are one.

        Raises LoginAccountsUnavailable.
        """

    async def merge_actors(self, merge: ActorMerge, correlation_id: UUID) -> None:
        """Merge them; repeating it changes nothing. Raises ActorMergeBlocked, LoginAccountsUnavailable."""


class AccountHandles(Protocol):
    """Names for found accounts that nobody but this service can make (ADR 0022)."""

    def seal(self, account: FoundAccount, context: Context) -> str:
        """Return a handle that names this account, for this clerk only, and for a short time."""

    def open(self, handle: str, context: Context) -> FoundAccount:
        """Return the account. Raises AccountHandleInvalid."""


class Referrals(Protocol):
    """The referrals with which catalogues send patrons to the counter (I12)."""

    def open(self, handle: str, organisation: str) -> Referral:
        """Return the referral to this organisation. Raises ReferralInvalid."""


class LookupKind(StrEnum):
    """What a clerk looked up (R22).

    `REGISTRATION`: a registration that was refused after the home library had replied. `READING`: an operator
    read the recorded look-ups. `EXPORT`: an operator exported all guests of the organisation with personal
    data, for a reason.
    """

    LOGIN_ACCOUNT = "login-account"
    HOME_PATRON = "home-patron"
    SCAN = "scan"
    GUESTS = "guests"
    REGISTRATION = "registration"
    READING = "reading"
    EXPORT = "export"


@dataclass(slots=True)
class Lookup:
    """One look-up of a person. `what`: what was typed, which is stored as a keyed hash only.

    `reason`: why all guests were exported, in the operator's words.
    """

    kind: LookupKind
    what: str
    home_isil: str | None = None
    outcome: str = "found"
    account_id: str | None = None
    guest_ids: Sequence[UUID] = ()
    reason: str | None = None


class Lookups(Protocol):
    """The record of all look-ups, and the limit for each clerk (R22)."""

    def admit(self, context: Context) -> None:
        """Raise TooManyLookups if the clerk is known to be over the limit, before anything is asked."""

    async def record(self, lookup: Lookup, context: Context) -> None:
        """Store the look-up. Raises TooManyLookups over the limit; then it is not stored."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """How far the index is with libraries that merged (I10).

    `aliases`: the alias table that it follows. `known_as`: what guests are known as, each once: the ISIL
    bases for which the index has all their references, with spaces between; empty when that is not known.
    """

    aliases: Mapping[str, str]
    known_as: Sequence[str]


class Registrations(Protocol):
    """The index of registrations, written in the append's own transaction: it never lags (ADR 0004)."""

    async def guests_of(self, organisation: str, person_ref: str) -> Sequence[UUID]:
        """Find the guests of a person at an organisation, by any card number (R10).

        There is more than one when the person was registered at two libraries that merged later (I10).
        """

    async def references_of(self, person_ref: str) -> Sequence[str]:
        """Return all references of this person that any organisation's guest shows to be the same person's.

        A card that was replaced, or is written in another way, has another reference (R10). The given one is
        among them. A reference that two guests share, after a merger, shows nothing (I10).
        """

    async def state(self) -> IndexState:
        """Return how far the index is with libraries that merged."""

    async def follow(self, aliases: Mapping[str, str]) -> None:
        """Note that the index follows this alias table from now on."""

    async def guests_known_as(self, known_as: Sequence[str], limit: int) -> Mapping[UUID, str]:
        """Find guests that are known as one of these: guest id -> what the guest is known as."""

    async def make_known(self, guest_id: UUID, organisation: str, refs: Sequence[str], known_as: str) -> None:
        """Add references of a guest and note what it is known as. A reference of another guest is shared."""

    async def guests_asking_for(self, organisation: str, account_id: str) -> Sequence[UUID]:
        """Find the guests of an organisation for which this login account was ever requested."""


class GuestsByPerson(Protocol):
    """Finds guests who look like a person, from a view: it may lag a moment behind (R28)."""

    async def like(self, organisation: str, details: PatronDetails) -> Sequence[UUID]:
        """Return some guests of the organisation with this surname, birth date and address."""


class TermChecks(Protocol):
    """The last term check of each guest."""

    async def last(self, guest_id: UUID) -> TermCheck | None:
        """Return the last check, or None."""

    async def record(self, guest_id: UUID, check: TermCheck) -> None:
        """Store this check, unless a later one is stored."""


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Return the present moment, in UTC."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)


class LinkBacklog(Protocol):
    """The requests for a link that identity has not answered yet."""

    async def require_bearable(self) -> None:
        """Raise LogOverloaded while more is asked of identity than it answers, and answers come late."""


class NoLinkBacklog:
    """Identity keeps up."""

    async def require_bearable(self) -> None:
        """See `LinkBacklog.require_bearable`."""


NO_LEDGER = ErasureLedger()
NO_LINK_BACKLOG = NoLinkBacklog()


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The collaborators of the use cases.

    `isil_aliases`: ISIL base of a merged library -> base of the library that it is part of now (R3).
    `organisations`: code -> guest library. `home_library_names`: ISIL base of a library that can be asked ->
    its name, which may be empty. `nightly_not_found_percent`: a library may say *not found* of so many guests
    in a hundred in one nightly check (R12).
    """

    store: AggregateStore
    data_keys: DataKeys
    home_libraries: HomeLibraries
    card_prefixes: CardPrefixes
    login_accounts: LoginAccounts
    account_handles: AccountHandles
    referrals: Referrals
    registrations: Registrations
    guests_by_person: GuestsByPerson
    term_checks: TermChecks
    lookups: Lookups
    organisations: Mapping[str, Organisation]
    isil_aliases: Mapping[str, str]
    person_ref_key: bytes
    clock: Clock
    erasure_ledger: ErasureLedger = NO_LEDGER
    link_backlog: LinkBacklog = NO_LINK_BACKLOG
    home_library_names: Mapping[str, str] = field(default_factory=dict)
    nightly_not_found_percent: int = 5
