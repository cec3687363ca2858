"""Adapters without network or database, for tests and experiments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from registration.application.dependencies import (
    Context,
    IndexState,
    LastReply,
    LibraryState,
    Lookup,
    TermCheck,
)
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.verdict import NotFound, Unavailable, Verdict
from shared.event_log import InMemoryEventLog, SideRow, SubjectColumns, UniqueKeys
from shared.kernel.library_card import Isil, canonical_card_number

UNIQUE_KEYS: UniqueKeys = {
    "registrations_pkey": ("registrations", ("organisation", "person_ref")),
    "shared_references_pkey": ("shared_references", ("organisation", "person_ref", "guest_id")),
    "registration_accounts_pkey": ("registration_accounts", ("organisation", "account_id", "guest_id")),
}
"""The unique keys of the schema, for `InMemoryEventLog(UNIQUE_KEYS, SUBJECT_COLUMNS)`."""

SUBJECT_COLUMNS: SubjectColumns = {
    "registrations": "guest_id",
    "shared_references": "guest_id",
    "registration_accounts": "guest_id",
}
"""The tables whose rows an erasure of a guest deletes, with the column of the guest id (R19)."""


class InMemoryRegistrations:
    """The registration index, in the side rows of an in-memory log."""

    def __init__(self, log: InMemoryEventLog, aliases: Mapping[str, str] | None = None) -> None:
        self._log = log
        self._persons = log.rows("registrations")
        self._shared = log.rows("shared_references")
        self._accounts = log.rows("registration_accounts")
        self._aliases = dict(aliases or {})

    async def guests_of(self, organisation: str, person_ref: str) -> Sequence[UUID]:
        """See `Registrations.guests_of`."""
        asked = (organisation, person_ref)
        rows = (*self._persons, *self._shared)
        return [row["guest_id"] for row in rows if (row["organisation"], row["person_ref"]) == asked]

    async def references_of(self, person_ref: str) -> Sequence[str]:
        """See `Registrations.references_of`."""
        found = {person_ref}
        while True:
            guests = {row["guest_id"] for row in self._persons if row["person_ref"] in found}
            more = {row["person_ref"] for row in self._persons if row["guest_id"] in guests} - found
            if not more:
                return sorted(found)
            found |= more

    async def state(self) -> IndexState:
        """See `Registrations.state`."""
        return IndexState(dict(self._aliases), sorted({row["known_as"] for row in self._persons}))

    async def follow(self, aliases: Mapping[str, str]) -> None:
        """See `Registrations.follow`."""
        self._aliases = dict(aliases)

    async def guests_known_as(self, known_as: Sequence[str], limit: int) -> Mapping[UUID, str]:
        """See `Registrations.guests_known_as`."""
        found = [row["guest_id"] for row in self._persons if row["known_as"] in known_as][:limit]
        return {
            guest_id: " ".join(row["known_as"] for row in self._persons if row["guest_id"] == guest_id)
            for guest_id in found
        }

    async def make_known(self, guest_id: UUID, organisation: str, refs: Sequence[str], known_as: str) -> None:
        """See `Registrations.make_known`."""
        named = [{"organisation": organisation, "person_ref": ref, "guest_id": guest_id} for ref in refs]
        own = [SideRow("registrations", {**row, "known_as": known_as}, or_ignore=True) for row in named]
        await self._log.append([], own)
        owned = {row["person_ref"] for row in self._persons if row["guest_id"] == guest_id}
        shared = [row for row in named if row["person_ref"] not in owned]
        await self._log.append([], [SideRow("shared_references", row, or_ignore=True) for row in shared])
        self._persons[:] = [
            {**row, "known_as": known_as} if row["guest_id"] == guest_id else row for row in self._persons
        ]

    async def guests_asking_for(self, organisation: str, account_id: str) -> Sequence[UUID]:
        """See `Registrations.guests_asking_for`."""
        asked = (organisation, account_id)
        return [
            row["guest_id"] for row in self._accounts if (row["organisation"], row["account_id"]) == asked
        ]


class InMemoryTermChecks:
    """The last check of each guest, in a dictionary."""

    def __init__(self) -> None:
        self._last: dict[UUID, TermCheck] = {}

    async def last(self, guest_id: UUID) -> TermCheck | None:
        """See `TermChecks.last`."""
        return self._last.get(guest_id)

    async def record(self, guest_id: UUID, check: TermCheck) -> None:
        """See `TermChecks.record`."""
        known = self._last.get(guest_id)
        if known is None or known.checked_at <= check.checked_at:
            earlier = known.answered_at if known else None
            self._last[guest_id] = replace(check, answered_at=check.answered_at or earlier)


class InMemoryLookups:
    """The look-ups in a list, with the clerk who made each; without a limit."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, Lookup]] = []

    def admit(self, context: Context) -> None:
        """See `Lookups.admit`."""

    async def record(self, lookup: Lookup, context: Context) -> None:
        """See `Lookups.record`."""
        self.recorded.append((context.metadata.caused_by, lookup))


class SetClock:
    """A clock that shows the moment to which it was set."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        """See `Clock.now`."""
        return self.moment


class InMemoryHomeLibraries:
    """The libraries in `isils`. They know the cards that were set with `answers`; others are not found.

    `aliases`: ISIL base of a merged library -> that of the surviving one (R3).
    """

    def __init__(self, isils: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        self._verdicts: dict[str, dict[str, Verdict]] = {Isil.parse(isil).base: {} for isil in isils}
        self._aliases = aliases or {}
        self._down: set[str] = set()

    async def ask(self, isil: str, card_number: str) -> Verdict:
        """Ask about a card (R4). Raises UnknownHomeLibrary, MalformedIsil, MalformedCardNumber (R1, R3)."""
        base = self._base(isil)
        card_number = canonical_card_number(card_number)
        if base not in self._verdicts:
            raise UnknownHomeLibrary
        if base in self._down:
            return Unavailable("cannot connect")
        return self._verdicts[base].get(card_number, NotFound())

    def connections(self, isil: str) -> int:
        """See `HomeLibraries.connections`."""
        if self._base(isil) not in self._verdicts:
            raise UnknownHomeLibrary
        return 4

    def states(self) -> Mapping[str, LibraryState]:
        """See `HomeLibraries.states`."""
        down = LastReply(datetime.now(UTC), "unavailable", "cannot connect")
        return {
            isil: LibraryState(isil in self._down, down if isil in self._down else None)
            for isil in self._verdicts
        }

    def answers(self, isil: str, card_number: str, verdict: Verdict) -> None:
        """Set the verdict of the library about this card."""
        self._verdicts[self._base(isil)][canonical_card_number(card_number)] = verdict

    def goes_down(self, isil: str) -> None:
        """Make the library unavailable."""
        self._down.add(self._base(isil))

    def comes_back(self, isil: str) -> None:
        """Make the library available again."""
        self._down.discard(self._base(isil))

    def _base(self, isil: str) -> str:
        return Isil.parse(isil).surviving(self._aliases).base
