"""R6 (the provisional term) and R16 (how it is worded)."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, timedelta

import pytest
from hypothesis import given, strategies

from registration.domain.term import (
    expiry_line,
    last_of_month,
    months_later,
    provisional_term,
    reregistration_preview,
    valid_header,
)

DAYS = strategies.dates(date(1990, 1, 1), date(2090, 12, 31))


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (date(2025, 9, 11), date(2025, 12, 11)),
        (date(2025, 11, 30), date(2026, 2, 28)),
        (date(2027, 11, 30), date(2028, 2, 29)),
        (date(2025, 11, 29), date(2026, 2, 28)),
        (date(2025, 11, 28), date(2026, 2, 28)),
        (date(2026, 1, 31), date(2026, 4, 30)),
        (date(2025, 12, 31), date(2026, 3, 31)),
    ],
)
def test_r6_the_provisional_term_is_three_calendar_months_clamped(begin: date, end: date) -> None:
    term = provisional_term(begin)
    assert (term.begin, term.end, term.provisional) == (begin, end, True)


@given(DAYS, strategies.integers(1, 24))
def test_r6_months_later_lands_in_the_right_month_on_the_same_or_its_last_day(day: date, months: int) -> None:
    later = months_later(day, months)
    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
    assert later.day == min(day.day, monthrange(later.year, later.month)[1])


@given(DAYS, DAYS)
def test_r6_a_later_registration_never_ends_earlier(one: date, other: date) -> None:
    earlier, later = sorted((one, other))
    assert months_later(earlier, 3) <= months_later(later, 3)


def test_r16_the_header_names_the_month_of_the_end_date() -> None:
    assert valid_header(date(2025, 12, 15)) == "Normaal December 2025"
    assert expiry_line(date(2025, 12, 15)) == "Vervalt 31-12-2025"
    assert expiry_line(date(2028, 2, 1)) == "Vervalt 29-02-2028"


def test_r16_an_open_ended_term_is_just_normaal() -> None:
    assert valid_header(None) == "Normaal"


def test_r16_the_preview_counts_tariff_months_from_today() -> None:
    preview = reregistration_preview(date(2025, 9, 15), 12)
    assert preview == "Abonnement Geldig t/m september 2026 (tijdelijk abonnement 12 mnd.)"
    assert "t/m februari 2029 " in reregistration_preview(date(2028, 2, 29), 12)


@given(DAYS)
def test_r16_the_last_day_of_the_month_is_followed_by_a_first(day: date) -> None:
    last = last_of_month(day)
    assert (last.year, last.month) == (day.year, day.month)
    assert (last + timedelta(days=1)).day == 1


@given(DAYS)
def test_r16_months_are_dutch_whatever_the_locale(day: date) -> None:
    dutch = [
        "Januari",
        "Februari",
        "Maart",
        "April",
        "Mei",
        "Juni",
        "Juli",
        "Augustus",
        "September",
        "Oktober",
        "November",
        "December",
    ]
    assert valid_header(day) == f"Normaal {dutch[day.month - 1]} {day.year}"
