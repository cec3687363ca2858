"""R15: rows follow the events, newest first, and never overlap."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise

from hypothesis import example
from hypothesis import given as drawn
from hypothesis import strategies as any_

from registration.domain.contributions import Row, RowStatus
from registration.domain.events import GuestDeregistered, SubscriptionExpired, TermConfirmed
from registration.domain.guest import Guest
from registration.domain.verdict import Verdict
from shared.kernel.errors import RuleBroken
from tests.support.scenario import Event, given, noon
from tests.unit.registration.guest_events import (
    CANCELLED,
    FINES,
    GUEST_ID,
    SEPT_11,
    SEPT_15,
    UNAVAILABLE,
    admission,
    happened,
    registered,
    renewal,
    reregistered,
    valid,
)

Span = tuple[date, date | None, str]
OCT_1 = date(2025, 10, 1)


def spans(*past: Event[Guest]) -> list[Span]:
    rows = given(*past).aggregate.state.contributions.rows
    return [(row.begin, row.end, row.status.value) for row in rows]


def expired(on: date) -> Event[Guest]:
    return happened(SubscriptionExpired, on=on, reason="overig")


def test_r15_a_registration_opens_a_valid_row() -> None:
    assert spans(registered()) == [(SEPT_11, date(2025, 12, 11), "Normaal")]


def test_r15_expiry_closes_the_valid_row_the_day_before_and_keeps_the_old_end_as_invalid() -> None:
    assert spans(registered(), expired(OCT_1)) == [
        (OCT_1, date(2025, 12, 11), "Ongeldig"),
        (SEPT_11, date(2025, 9, 30), "Normaal"),
    ]


def test_r15_a_row_that_ended_earlier_keeps_its_own_end() -> None:
    assert spans(registered(), happened(TermConfirmed, end=SEPT_15), expired(OCT_1)) == [
        (OCT_1, SEPT_15, "Ongeldig"),
        (SEPT_11, SEPT_15, "Normaal"),
    ]


def test_r15_an_open_ended_row_closes_the_day_before() -> None:
    assert spans(registered(), happened(TermConfirmed, end=None), expired(OCT_1)) == [
        (OCT_1, None, "Ongeldig"),
        (SEPT_11, date(2025, 9, 30), "Normaal"),
    ]


def test_r15_a_confirmed_term_moves_the_current_rows_end() -> None:
    end = date(2026, 12, 31)
    assert spans(registered(), happened(TermConfirmed, end=end)) == [(SEPT_11, end, "Normaal")]


def test_r15_reregistration_closes_the_invalid_row_the_day_before() -> None:
    later = date(2026, 3, 1)
    assert spans(registered(), expired(OCT_1), reregistered(later)) == [
        (later, date(2026, 6, 1), "Normaal"),
        (OCT_1, date(2026, 2, 28), "Ongeldig"),
        (SEPT_11, date(2025, 9, 30), "Normaal"),
    ]


def test_r15_deregistration_closes_and_opens_nothing() -> None:
    gone = happened(GuestDeregistered, on=SEPT_15, reason="verkeerde klant")
    assert spans(registered(), gone) == [(SEPT_11, date(2025, 9, 14), "Normaal")]


def test_r21_a_card_registered_afresh_opens_a_row_above_the_old_ones() -> None:
    gone = happened(GuestDeregistered, on=SEPT_15, reason="verkeerde klant")
    assert spans(registered(), gone, registered(OCT_1)) == [
        (OCT_1, date(2026, 1, 1), "Normaal"),
        (SEPT_11, date(2025, 9, 14), "Normaal"),
    ]


VERDICTS = any_.one_of(
    any_.just(CANCELLED),
    any_.just(FINES),
    any_.just(UNAVAILABLE),
    any_.builds(valid, any_.none() | any_.dates(date(2025, 8, 1), date(2027, 1, 1))),
)
# A step: so many days on (a clock may also go back), and what then happens.
STEPS = any_.lists(
    any_.tuples(
        any_.integers(-3, 3) | any_.integers(0, 120),
        VERDICTS | any_.sampled_from(["reregister", "deregister", "register"]),
    ),
    max_size=12,
)


def lived(steps: Sequence[tuple[int, Verdict | str]]) -> Guest:
    """A guest after any sequence of commands; what is refused changes nothing."""
    today = SEPT_11
    guest = Guest.register(GUEST_ID, admission(), today=today, now=noon(today))
    for days, step in steps:
        today += timedelta(days=days)
        try:
            perform(step, guest, today)
        except RuleBroken:
            continue
    return guest


def perform(step: Verdict | str, guest: Guest, today: date) -> None:
    now = noon(today)
    match step:
        case "reregister":
            guest.reregister("04", renewal(), today=today, now=now)
        case "deregister":
            guest.deregister("vergissing", today=today, now=now)
        case "register":
            guest.register_afresh(admission(), today=today, now=now)
        case _:
            assert not isinstance(step, str)
            guest.check_term(step, today=today, now=now)


def is_empty(row: Row) -> bool:
    return row.end is not None and row.begin > row.end


@drawn(STEPS)
@example([(20, CANCELLED), (-3, "reregister")])  # a clock that goes back
def test_r15_rows_never_overlap_and_are_newest_first_whatever_happens(
    steps: list[tuple[int, Verdict | str]],
) -> None:
    rows = lived(steps).state.contributions.rows
    for newer, older in pairwise(rows):
        assert newer.begin >= older.begin
    full = [row for row in rows if not is_empty(row)]
    for newer, older in pairwise(full):
        assert older.end is not None
        assert older.end < newer.begin


@drawn(STEPS)
def test_r15_only_the_newest_row_can_be_open_and_a_valid_guest_has_a_valid_one(
    steps: list[tuple[int, Verdict | str]],
) -> None:
    state = lived(steps).state
    assert all(row.end is not None for row in state.contributions.past)
    expected = {
        "valid": RowStatus.VALID,
        "suspended": RowStatus.VALID,
        "expired": RowStatus.INVALID,
        "deregistered": None,
    }
    current = state.contributions.current
    assert (current.status if current else None) == expected[state.status]


@drawn(STEPS)
def test_r16_the_current_row_and_the_term_never_disagree(steps: list[tuple[int, Verdict | str]]) -> None:
    state = lived(steps).state
    if state.status in {"valid", "suspended"}:
        assert state.contributions.current is not None
        assert state.contributions.current.end == state.term.end
