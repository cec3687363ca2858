"""What became of the guests of a home library in one night (R12)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from registration.domain.term_check import (
    Confirm,
    Decision,
    Expire,
    Reinstate,
    Suspend,
    leaves_stale,
)
from registration.domain.verdict import NotFound, Unavailable, Verdict


@dataclass(slots=True)
class Tally:
    """Guests. `asked` is the sum of all others but the last two, which tell why terms are `stale`."""

    asked: int = 0
    unchanged: int = 0
    confirmed: int = 0
    expired: int = 0
    suspended: int = 0
    reinstated: int = 0
    stale: int = 0
    not_found: int = 0
    failed: int = 0

    def count(self, verdict: Verdict, decisions: Sequence[Decision], *, failed_before: bool) -> None:
        """Count one answer. Who failed earlier in the night is asked again, and is no second guest."""
        if failed_before:
            self.asked -= 1
            self.stale -= 1
            self.failed -= 1
        self.asked += 1
        self.stale += leaves_stale(verdict)
        self.not_found += isinstance(verdict, NotFound)
        self.failed += isinstance(verdict, Unavailable)
        if leaves_stale(verdict):
            return
        kinds = {type(decision) for decision in decisions}
        for kind, name in OUTCOMES.items():
            if kind in kinds:
                setattr(self, name, getattr(self, name) + 1)
                return
        self.unchanged += 1

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return asdict(self)


OUTCOMES = {Expire: "expired", Suspend: "suspended", Reinstate: "reinstated", Confirm: "confirmed"}
"""By weight: a guest who is reinstated with a new end counts as reinstated."""
