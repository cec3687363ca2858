"""The contribution rows of a guest: which subscription ran from when to when (R15).

A change on day D closes the current row and opens the next one from D, so rows never overlap.
"""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum
from typing import NamedTuple

from registration.domain.events import (
    GuestDeregistered,
    GuestEvent,
    GuestRegistered,
    GuestReregistered,
    PersonalDataErased,
    SubscriptionExpired,
    TermConfirmed,
)


class RowStatus(StrEnum):
    """What a row says of the subscription in its days."""

    VALID = "Normaal"
    INVALID = "Ongeldig"


class Row(NamedTuple):
    """One row. Both days are inclusive; `begin` after `end` is an empty row, which happens; no end: open."""

    organisation: str
    branch: str
    subscription_code: str
    begin: date
    end: date | None
    status: RowStatus


class Contributions(NamedTuple):
    """The rows of one guest. Without a current row no subscription runs, not even an invalid one."""

    current: Row | None = None
    past: tuple[Row, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, newest first."""
        return self.past if self.current is None else (self.current, *self.past)


def evolve_contributions(before: Contributions, event: GuestEvent) -> Contributions:
    """Let the rows follow one event (R15)."""
    match event:
        case GuestRegistered():
            return _opened(before, _first_row(event))
        case GuestReregistered() if before.current:
            row = before.current._replace(begin=event.term_begin, end=event.term_end, status=RowStatus.VALID)
            return _opened(before, row)
        case SubscriptionExpired() if before.current:
            return _opened(before, before.current._replace(begin=event.on, status=RowStatus.INVALID))
        case TermConfirmed() if before.current:
            return before._replace(current=before.current._replace(end=event.end))
        case GuestDeregistered() | PersonalDataErased():
            return _closed(before, event.on)
        case _:
            return before


def _first_row(event: GuestRegistered) -> Row:
    return Row(
        organisation=event.organisation,
        branch=event.branch,
        subscription_code=event.subscription_code,
        begin=event.term_begin,
        end=event.term_end,
        status=RowStatus.VALID,
    )


def _opened(before: Contributions, row: Row) -> Contributions:
    return Contributions(row, _closed(before, row.begin).past)


def _closed(before: Contributions, on: date) -> Contributions:
    row = before.current
    if row is None:
        return before
    eve = on - timedelta(days=1)
    ended_earlier = row.status is RowStatus.VALID and row.end is not None and row.end < eve
    closed = row if ended_earlier else row._replace(end=eve)
    return Contributions(current=None, past=(closed, *before.past))
