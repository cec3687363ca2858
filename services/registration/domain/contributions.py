"""The contribution rows of a guest: which subscription ran from when to when (R15).

A change on day D closes the current row and opens a new row that begins on D, so rows never overlap.
"""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

from registration.domain.events import (
    GuestDeregistered,
    GuestEvent,
    GuestImported,
    GuestRegistered,
    GuestReregistered,
    PersonalDataErased,
    SubscriptionExpired,
    TermConfirmed,
)


class RowStatus(StrEnum):
    """The status of the subscription during the days of a row."""

    VALID = "Normaal"
    INVALID = "Ongeldig"


class Row(NamedTuple):
    """One row; both days are inclusive. `end` None: open-ended. `begin` after `end`: empty, which happens."""

    organisation: str
    branch: str
    subscription_code: str
    begin: date
    end: date | None
    status: RowStatus


class Contributions(NamedTuple):
    """The rows of one guest. `current` None: there is no subscription now, not even an invalid one."""

    current: Row | None = None
    past: tuple[Row, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, newest first."""
        return self.past if self.current is None else (self.current, *self.past)


def evolve_contributions(before: Contributions, event: GuestEvent) -> Contributions:
    """Return the rows after one event (R15)."""
    match event:
        case GuestRegistered() | GuestImported():
            return _begun(before, event)
        case GuestReregistered() if before.current:
            row = before.current._replace(begin=event.term_begin, end=event.term_end, status=RowStatus.VALID)
            return _open_row(before, row)
        case SubscriptionExpired() if before.current:
            return _open_row(before, before.current._replace(begin=event.on, status=RowStatus.INVALID))
        case TermConfirmed() if before.current:
            return before._replace(current=before.current._replace(end=event.end))
        case GuestDeregistered() | PersonalDataErased():
            return _close_row(before, event.on)
        case _:
            return before


def _begun(before: Contributions, event: GuestRegistered | GuestImported) -> Contributions:
    if isinstance(event, GuestRegistered):
        return _open_row(before, _first_row(event))
    current, *past = imported_rows(event)
    return Contributions(current, tuple(past))


def imported_rows(event: GuestImported) -> list[Row]:
    """Return the rows of an imported guest, newest first (R29)."""
    of_guest = (event.organisation, event.branch, event.subscription_code)
    return [Row(*of_guest, row["begin"], row["end"], RowStatus(row["status"])) for row in event.contributions]


def _first_row(event: GuestRegistered) -> Row:
    return Row(
        organisation=event.organisation,
        branch=event.branch,
        subscription_code=event.subscription_code,
        begin=event.term_begin,
        end=event.term_end,
        status=RowStatus.VALID,
    )


def _open_row(before: Contributions, row: Row) -> Contributions:
    return Contributions(row, _close_row(before, row.begin).past)


def _close_row(before: Contributions, on: date) -> Contributions:
    row = before.current
    if row is None:
        return before
    day_before = on - timedelta(days=1)
    ended_earlier = row.status is RowStatus.VALID and row.end is not None and row.end < day_before
    closed = row if ended_earlier else row._replace(end=day_before)
    return Contributions(current=None, past=(closed, *before.past))
