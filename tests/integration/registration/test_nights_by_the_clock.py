"""The nightly check by the clock: every night once, whatever the calendar does (R12)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest

from registration.application.nightly_check import run_when_due
from registration.domain.verdict import (
    Unavailable,
)
from shared.platform.leases import Leases
from tests.support.nights import TOMORROW, NightCounter
from tests.support.registration_service import (
    HOME,
)


@pytest.mark.parametrize(
    "day",
    [date(2026, 3, 29), date(2026, 10, 25), date(2028, 2, 29), date(2026, 12, 31), date(2027, 1, 1)],
    ids=["summer-time-begins", "summer-time-ends", "leap-day", "new-years-eve", "new-year"],
)
@pytest.mark.parametrize("starts_at", [time(2, 30), time(0, 0)], ids=["half-past-two", "midnight"])
async def test_r12_in_every_night_each_guest_is_asked_about_once(
    library: NightCounter, day: date, starts_at: time
) -> None:
    guests = [await library.register(card) for card in ("1", "2")]
    assert len(guests) == 2
    moment = datetime.combine(day - timedelta(days=1), time(12), UTC)
    end = moment + timedelta(days=1)
    await library.at(moment)
    asked_at = []
    while moment < end:
        library.counter.clock.moment = moment
        before = len(library.home.asked)
        await run_when_due(
            starts_at, library.service.nightly_checks, Leases(library.service.pool), library.service.deps
        )
        asked_at += [moment] * (len(library.home.asked) - before)
        moment += timedelta(minutes=15)
    assert sorted(library.home.asked) == [(HOME, "1"), (HOME, "2")]
    assert len(set(asked_at)) == 1
    report = await library.service.nightly_checks.last()
    assert report is not None
    assert (report.nightly.day, report.is_complete) == (day, True)


async def test_r12_until_the_morning_the_silent_are_asked_again_and_then_no_more(
    library: NightCounter,
) -> None:
    await library.register("1")
    library.home.answers(HOME, "1", Unavailable("timed out"))
    await library.at(datetime.combine(TOMORROW, time(0), UTC))
    for minutes in range(0, 12 * 60, 5):
        library.counter.clock.moment = datetime.combine(TOMORROW, time(0), UTC) + timedelta(minutes=minutes)
        await run_when_due(
            time(2, 30), library.service.nightly_checks, Leases(library.service.pool), library.service.deps
        )
    # 00:30 to 05:00 UTC, a quarter of an hour apart, each time with its second chance
    assert len(library.home.asked) == 2 * 18
    report = await library.service.nightly_checks.last()
    assert report is not None
    assert (report.libraries[0].tally.asked, report.libraries[0].tally.failed) == (1, 1)
