"""The index, the term checks and a clock without a database: for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from registration.application.ports import TermCheck
from shared.event_log import InMemoryEventLog, SubjectColumns, UniqueKeys

UNIQUE_KEYS: UniqueKeys = {
    "registrations_pkey": ("registrations", ("organisation", "person_ref")),
    "registration_accounts_pkey": ("registration_accounts", ("organisation", "account_id", "guest_id")),
}
"""What the schema makes unique, for `InMemoryEventLog(UNIQUE_KEYS, SUBJECT_COLUMNS)`."""

SUBJECT_COLUMNS: SubjectColumns = {"registrations": "guest_id", "registration_accounts": "guest_id"}
"""Whose rows die with an erased guest (R19)."""


class InMemoryRegistrations:
    """The index, read from the side rows of an in-memory log."""

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


class SetClock:
    """A clock that stands where it was set."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        """See `Clock.now`."""
        return self.moment
