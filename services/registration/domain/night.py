"""A night: when terms are checked, whatever the clocks do (R12)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
MORNING = time(7)
"""Counters open after this: what is not done by then waits for the next night."""


@dataclass(frozen=True, slots=True)
class Night:
    """The night before a day in Europe/Amsterdam; by hand the check may run until the next midnight."""

    day: date

    @property
    def begins_at(self) -> datetime:
        """Midnight. Clocks change later in the night, so there is exactly one."""
        return moment(self.day, time())


def moment(day: date, wall_time: time) -> datetime:
    """Give the moment, in UTC, at which the clocks in Amsterdam show this.

    Of a time that comes twice it is the first, and one that is left out comes an hour later on the clock:
    both ways there is exactly one.
    """
    return datetime.combine(day, wall_time, AMSTERDAM).astimezone(UTC)


def night_at(now: datetime, starts_at: time) -> Night | None:
    """Give the night in which terms are to be checked now; None by day, and before `starts_at`."""
    day = now.astimezone(AMSTERDAM).date()
    if moment(day, starts_at) <= now < moment(day, MORNING):
        return Night(day)
    return None
