"""The guest status that a recognised login reports (I7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from identity.domain.guest_status import GuestStatus, Status, recorded_status
from tests.unit.identity.login_events import EXPIRED, VALID

ENDED = date(2025, 9, 20)
TERM_END = date(2025, 12, 11)


def test_i7_block_and_expiry_are_different_states() -> None:
    assert VALID.suspended().reinstated() == VALID
    assert EXPIRED.suspended() == EXPIRED
    assert VALID.suspended().expired(ENDED).reinstated() == replace(EXPIRED, ends_on=ENDED)
    assert EXPIRED.reinstated() == EXPIRED


@pytest.mark.parametrize(
    ("term_end", "shown"),
    [(TERM_END, ENDED), (None, ENDED), (ENDED - timedelta(days=5), ENDED - timedelta(days=5))],
    ids=["before-its-end", "open-ended", "its-term-was-over"],
)
def test_i7_an_expired_guest_ended_on_the_day_of_the_expiry_or_with_its_term(
    term_end: date | None, shown: date
) -> None:
    expired = GuestStatus(Status.VALID, term_end).expired(ENDED)
    assert expired == GuestStatus(Status.EXPIRED, shown)
    assert expired.registered_until(TERM_END) == GuestStatus(Status.VALID, TERM_END)


@pytest.mark.parametrize("ends_on", [TERM_END, None])
def test_i7_an_event_of_an_earlier_release_ended_no_later_than_it_was_written(ends_on: date | None) -> None:
    at = datetime(2025, 9, 20, 10, tzinfo=UTC)
    assert recorded_status("expired", ends_on, at) == GuestStatus(Status.EXPIRED, ENDED)
    assert recorded_status("suspended", ends_on, at) == GuestStatus(Status.SUSPENDED, ends_on)
