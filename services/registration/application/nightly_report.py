"""What the nightly check reads and writes: due guests, stored replies, reports (R12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Protocol
from uuid import UUID

from registration.application.dependencies import TermCheck
from registration.domain.events import Encrypted
from registration.domain.term import Term
from registration.domain.term_check import NightlyCheck, Status, Tally

BEFORE_ALL = UUID(int=0)


class Turn(IntEnum):
    """When a guest is asked about: those without a usable reply last time come last, night after night.

    So a few guests whose replies fail never keep the others from being asked about. `AGAIN`: those without a
    reply in an earlier run of tonight; `NOW`: in this run.
    """

    FIRST = 0
    LAST = 1
    AGAIN = 2
    NOW = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of due guests begins: after an id among those whose turn it is. `began`: this run."""

    turn: Turn
    began: datetime
    after: UUID = BEFORE_ALL


@dataclass(frozen=True, slots=True)
class DueGuest:
    """A guest to check. `failed_before`: already asked tonight, without a reply.

    `sealed_details` None: the view has them after its rebuild; until then only the stream shows what is news.
    """

    guest_id: UUID
    organisation: str
    status: Status
    term: Term
    sealed_card: Encrypted
    sealed_details: Encrypted | None
    failed_before: bool


@dataclass(frozen=True, slots=True)
class LibraryReport:
    """One home library in a report. `left`: guests without a reply; `problem`: why, if known."""

    home_isil: str
    tally: Tally = field(default_factory=Tally)
    left: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class NightlyReport:
    """A nightly check, library by library. `ended_at` None: the run goes on, or was killed."""

    nightly: NightlyCheck
    started_at: datetime
    ended_at: datetime | None
    libraries: Sequence[LibraryReport]

    @property
    def is_complete(self) -> bool:
        """Return whether every due guest was checked."""
        return self.ended_at is not None and not any(library.left for library in self.libraries)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON: one item per home library, moments as ISO text."""
        return {
            "night": self.nightly.day,
            "started_at": self.started_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "complete": self.is_complete,
            "libraries": [
                {
                    "home_isil": library.home_isil,
                    **library.tally.as_dict(),
                    "left": library.left,
                    "problem": library.problem,
                }
                for library in self.libraries
            ],
        }


@dataclass(frozen=True, slots=True)
class NightlyRequest:
    """An operator asked for a check now. It waits until a worker has finished it."""

    requested_at: datetime
    by: str


class NightlyChecks(Protocol):
    """Due guests and stored replies: a run that was killed continues where it ended."""

    async def begin(self, nightly: NightlyCheck, now: datetime) -> None:
        """Store that a run began."""

    async def due(self, nightly: NightlyCheck) -> Mapping[str, int]:
        """Count the due guests by the ISIL base of their home library."""

    async def page(
        self, nightly: NightlyCheck, home_isil: str, place: Place, limit: int
    ) -> Sequence[DueGuest]:
        """Return the next due guests of a library, in the order of their ids."""

    async def record(
        self, nightly: NightlyCheck, home_isil: str, checks: Mapping[UUID, TermCheck], tally: Tally
    ) -> None:
        """Store replies and counts, both or neither."""

    async def end(self, nightly: NightlyCheck, now: datetime, problems: Mapping[str, str]) -> None:
        """Store the end of the run and what is left; `problems`: ISIL base -> why."""

    async def last(self) -> NightlyReport | None:
        """Return the report of the last run, or None."""

    async def recent(self, limit: int) -> Sequence[NightlyReport]:
        """Return the reports of the last nights, the newest first."""

    async def request(self, by: str) -> NightlyRequest:
        """Ask for a check now, or return the request that waits already."""

    async def requested(self) -> NightlyRequest | None:
        """Return the request that waits, if there is one."""

    async def fulfil(self, request: NightlyRequest) -> None:
        """Store that the requested check was done."""
