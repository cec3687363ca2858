"""Adapters without network or database, for tests and experiments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from registration.application.dependencies import Context, Lookup, TermCheck
from registration.domain.errors import UnknownHomeLibrary
from registration.domain.verdict import NotFound, Unavailable, Verdict
from shared.event_log import InMemoryEventLog, SubjectColumns, UniqueKeys
from shared.kernel.library_card import Isil, canonical_card_number

UNIQUE_KEYS: UniqueKeys = {
    "registrations_pkey": ("registrations", ("organisation", "person_ref")),
    "registration_accounts_pkey": ("registration_accounts", ("organisation", "account_id", "guest_id")),
}
"""The unique keys of the schema, for `InMemoryEventLog(UNIQUE_KEYS, SUBJECT_COLUMNS)`."""

SUBJECT_COLUMNS: SubjectColumns = {"registrations": "guest_id", "registration_accounts": "guest_id"}
"""The tables whose rows an erasure of a guest deletes, with the column of the guest id (R19)."""


class InMemoryRegistrations:
    """The registration index, read from the side rows of an in-memory log."""

    def __init__(self, log: InMemoryEventLog) -> None:
        self._persons = log.rows("registrations")
        self._accounts = log.rows("registration_accounts")

    async def guest_of(self, organisation: str, person_ref: str) -> UUID | None:
        """See `Registrations.guest_of`."""
        for row in self._persons:
            if (row["organisation"], row["person_ref"]) == (organisation, person_ref):
                found: UUID = row["guest_id"]
                return found
        return None

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
            self._last[guest_id] = check


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
