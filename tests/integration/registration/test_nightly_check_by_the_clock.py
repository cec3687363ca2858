"""The nightly check by the clock: once every night, whatever the calendar does (R12)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest

from registration.application.nightly_check import run_when_due
from registration.domain.verdict import Unavailable
from shared.platform.leases import Leases
from tests.support.registration_service import HOME, TOMORROW, NightlyApp


@pytest.mark.parametrize(
    "day",
    [date(2026, 3, 29), date(2026, 10, 25), date(2028, 2, 29), date(2026, 12, 31), date(2027, 1, 1)],
    ids=["summer-time-begins", "summer-time-ends", "leap-day", "new-years-eve", "new-year"],
)
@pytest.mark.parametrize("starts_at", [time(2, 30), time(0, 0)], ids=["half-past-two", "midnight"])
async def test_r12_in_every_night_each_guest_is_asked_about_once(
    nightly_app: NightlyApp, day: date, starts_at: time
) -> None:
    guests = [await nightly_app.register(card) for card in ("1", "2")]
    assert len(guests) == 2
    moment = datetime.combine(day - timedelta(days=1), time(12), UTC)
    end = moment + timedelta(days=1)
    await nightly_app.at(moment)
    asked_at = []
    while moment < end:
        nightly_app.app.clock.moment = moment
        before = len(nightly_app.home.asked)
        await run_when_due(
            starts_at,
            nightly_app.service.nightly_checks,
            Leases(nightly_app.service.pool),
            nightly_app.service.deps,
        )
        asked_at += [moment] * (len(nightly_app.home.asked) - before)
        moment += timedelta(minutes=15)
    assert sorted(nightly_app.home.asked) == [(HOME, "1"), (HOME, "2")]
    assert len(set(asked_at)) == 1
    report = await nightly_app.service.nightly_checks.last()
    assert report is not None
    assert (report.nightly.day, report.is_complete) == (day, True)


async def test_r12_until_the_morning_the_silent_are_asked_again_and_then_no_more(
    nightly_app: NightlyApp,
) -> None:
    await nightly_app.register("1")
    nightly_app.home.answers(HOME, "1", Unavailable("timed out"))
    await nightly_app.at(datetime.combine(TOMORROW, time(0), UTC))
    for minutes in range(0, 12 * 60, 5):
        nightly_app.app.clock.moment = datetime.combine(TOMORROW, time(0), UTC) + timedelta(minutes=minutes)
        await run_when_due(
            time(2, 30),
            nightly_app.service.nightly_checks,
            Leases(nightly_app.service.pool),
            nightly_app.service.deps,
        )
    # 00:30 to 05:00 UTC, a quarter of an hour apart, each time with its second chance
    assert len(nightly_app.home.asked) == 2 * 18
    report = await nightly_app.service.nightly_checks.last()
    assert report is not None
    assert (report.libraries[0].tally.asked, report.libraries[0].tally.failed) == (1, 1)
