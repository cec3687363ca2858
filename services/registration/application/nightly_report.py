"""What the nightly check must be given: who is due, where it is kept how far it is (R12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from registration.application.dependencies import TermCheck
from registration.domain.events import Encrypted
from registration.domain.term import Term
from registration.domain.term_check import NightlyCheck, Status, Tally


@dataclass(frozen=True, slots=True)
class DueGuest:
    """A guest to ask about, as listed. `failed_before`: asked tonight already, without an answer."""

    guest_id: UUID
    organisation: str
    status: Status
    term: Term
    sealed_card: Encrypted
    failed_before: bool


@dataclass(frozen=True, slots=True)
class LibraryReport:
    """One home library in a night. `left`: guests without an answer; `problem`: why, if it is known."""

    home_isil: str
    tally: Tally = field(default_factory=Tally)
    left: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class NightlyReport:
    """A night, library by library. `ended_at` None: the run goes on, or was killed."""

    nightly: NightlyCheck
    started_at: datetime
    ended_at: datetime | None
    libraries: Sequence[LibraryReport]

    @property
    def is_complete(self) -> bool:
        """Whether every guest who was due was answered for."""
        return self.ended_at is not None and not any(library.left for library in self.libraries)


class NightlyChecks(Protocol):
    """Guests due and nights past, kept so that a run that was killed goes on where it was."""

    async def begin(self, nightly: NightlyCheck, now: datetime) -> None:
        """Remember that a run of this night began."""

    async def due(self, nightly: NightlyCheck) -> Mapping[str, int]:
        """Count the guests to ask about, by ISIL base of the home library."""

    async def page(
        self, nightly: NightlyCheck, home_isil: str, after: UUID, limit: int
    ) -> Sequence[DueGuest]:
        """List guests of a library beyond `after`, in the order of their ids."""

    async def record(
        self, nightly: NightlyCheck, home_isil: str, checks: Mapping[UUID, TermCheck], tally: Tally
    ) -> None:
        """Remember answers and count them, both or neither."""

    async def end(self, nightly: NightlyCheck, now: datetime, problems: Mapping[str, str]) -> None:
        """Remember that the run is over, who is left, and why; `problems` by ISIL base."""

    async def last(self) -> NightlyReport | None:
        """Report on the last night in which there was a run."""
