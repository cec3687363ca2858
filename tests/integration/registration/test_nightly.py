"""The nightly check over a real database: who is asked, what comes of it, and what the report says (R12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from registration.adapters.home_library.in_memory import InMemoryHomeLibraries
from registration.application import check_all_terms as nightly
from registration.application.nights import NightReport
from registration.application.ports import Context, TermCheck
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.application.run_nights import TASK, run_night, run_when_it_is_night
from registration.application.show_guest import GuestView, show_guest
from registration.bootstrap import view_source
from registration.domain.night import Night
from registration.domain.verdict import (
    UNREADABLE,
    NotFound,
    Reason,
    Refused,
    Unavailable,
    Valid,
    Verdict,
)
from registration.read_models.terms_due import VIEW as TERMS_DUE
from shared.event_log import Metadata
from shared.messaging.leases import Leases
from tests.support.registration import on_day
from tests.support.registration_service import (
    FRYSLAN,
    HOME,
    JAN,
    TODAY,
    Counter,
    open_counter,
    registering,
)
from tests.support.views import follow_all

TOMORROW = TODAY + timedelta(days=1)
FOUR_CONNECTIONS = 4  # of a home library in memory
PROVISIONAL_END = date(2025, 12, 11)


class AskedHome(InMemoryHomeLibraries):
    """Remembers who was asked about, and does something before each answer."""

    def __init__(self, home: InMemoryHomeLibraries) -> None:
        self.__dict__.update(home.__dict__)
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[str, str], Awaitable[Verdict | None]] | None = None

    async def ask(self, isil: str, card_number: str) -> Verdict:
        self.asked.append((isil, card_number))
        if self.before is not None and (instead := await self.before(isil, card_number)) is not None:
            return instead
        return await super().ask(isil, card_number)


class Library:
    """A counter whose guests are checked at night."""

    def __init__(self, counter: Counter, home: AskedHome) -> None:
        self.counter, self.home, self.service = counter, home, counter.service

    async def register(self, card: str, isil: str = HOME) -> UUID:
        self.counter.member(card, isil)
        async with self.counter.client(scope="counter", organisation="1001") as client:
            answer = await client.post("/v1/guests", json=registering(card, home_isil=isil))
        assert answer.status_code == 201, answer.text
        self.home.asked.clear()
        return UUID(answer.json()["guest_id"])

    async def at(self, moment: datetime) -> None:
        """It is then, and the view of the due has caught up."""
        self.counter.clock.moment = moment
        await follow_all(self.service, [TERMS_DUE], view_source(self.service.settings))

    async def run(self, day: date = TOMORROW) -> NightReport:
        await self.at(on_day(day))
        report = await run_night(
            Night(day),
            "operator",
            self.service.nights,
            Leases(self.service.pool),
            self.service.registration,
        )
        assert report is not None
        return report

    async def show(self, guest_id: UUID) -> GuestView:
        return await show_guest(guest_id, "1001", self.service.registration)


@pytest.fixture
async def library(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Library]:
    monkeypatch.setattr(nightly, "TRY_AGAIN_AFTER", 0.0)
    async with open_counter(database, tmp_path) as counter:
        home = AskedHome(counter.home)
        object.__setattr__(counter.service.registration, "home_libraries", home)
        yield Library(counter, home)


ANSWERS: dict[str, tuple[Verdict, str, tuple[str, date | None, bool]]] = {
    "same-end": (Valid(JAN, PROVISIONAL_END, "1"), "confirmed", ("valid", PROVISIONAL_END, False)),
    "other-end": (Valid(JAN, date(2026, 3, 1), "1"), "confirmed", ("valid", date(2026, 3, 1), False)),
    "no-end": (Valid(JAN, None, "1"), "confirmed", ("valid", None, False)),
    "ended": (Valid(JAN, TODAY, "1"), "expired", ("expired", PROVISIONAL_END, False)),
    "refused-ended": (Refused((Reason.EXPIRED,), True), "expired", ("expired", PROVISIONAL_END, False)),
    "blocked": (Refused((Reason.FINES,), False), "suspended", ("suspended", PROVISIONAL_END, False)),
    "unreadable": (Valid(JAN, UNREADABLE, "1"), "stale", ("valid", PROVISIONAL_END, True)),
    "not-found": (NotFound(), "not_found", ("valid", PROVISIONAL_END, True)),
    "no-answer": (Unavailable("timed out"), "failed", ("valid", PROVISIONAL_END, True)),
}


@pytest.mark.parametrize("which", ANSWERS)
async def test_r12_each_answer_has_its_effect_and_is_counted(library: Library, which: str) -> None:
    answer, counted, (status, end, stale) = ANSWERS[which]
    guest_id = await library.register("1")
    library.home.answers(HOME, "1", answer)

    report = await library.run()

    view = await library.show(guest_id)
    assert (view.status, view.term.end, view.term.stale) == (status, end, stale)
    tally = report.libraries[0].tally.as_dict()
    expected = "unchanged" if which == "same-end" else counted
    assert (tally.pop("asked"), tally[expected]) == (1, 1)
    told_why = {"stale"} if counted in {"not_found", "failed"} else set()
    assert {name for name, count in tally.items() if count} == {expected, *told_why}
    assert report.is_complete == (which != "no-answer")


async def test_r12_a_block_that_is_lifted_reinstates_the_next_night(library: Library) -> None:
    guest_id = await library.register("1")
    library.home.answers(HOME, "1", Refused((Reason.FINES,), False))
    await library.run()
    library.counter.member("1")
    report = await library.run(TOMORROW + timedelta(days=1))
    assert (await library.show(guest_id)).status == "valid"
    assert report.libraries[0].tally.reinstated == 1


async def test_r12_again_in_the_same_night_only_who_is_left_is_asked_and_nothing_is_written(
    library: Library,
) -> None:
    for card in ("1", "2", "3"):
        await library.register(card)
    library.home.answers(HOME, "2", Unavailable("timed out"))
    first = await library.run()
    assert (first.libraries[0].left, first.libraries[0].problem) == (1, "timed out")
    library.home.asked.clear()
    position = await library.service.log.position()

    library.home.answers(HOME, "2", Valid(JAN, PROVISIONAL_END, "2"))
    second = await library.run()

    assert library.home.asked == [(HOME, "2")]
    assert await library.service.log.position() == position
    tally = second.libraries[0].tally
    assert (tally.asked, tally.confirmed, tally.unchanged, tally.failed, tally.stale) == (3, 2, 1, 0, 0)
    assert (second.is_complete, second.libraries[0].problem) == (True, None)


async def test_r12_who_registered_today_is_not_asked_about_before_tomorrow(library: Library) -> None:
    await library.register("1")
    assert (await library.run(TODAY)).libraries == []
    assert library.home.asked == []
    await library.run(TOMORROW)
    assert library.home.asked == [(HOME, "1")]


async def test_r12_a_library_that_fails_is_left_alone_and_asked_again_when_the_others_are_done(
    library: Library,
) -> None:
    for number in range(20):
        await library.register(f"1{number:02}")
        await library.register(f"2{number:02}", FRYSLAN)
    trials = 0

    async def breaks(isil: str, _card: str) -> Verdict | None:
        nonlocal trials
        if isil == HOME or trials == FOUR_CONNECTIONS:
            return None
        trials += 1
        await asyncio.sleep(0)  # the other connections ask before this answer is here
        return Unavailable("left alone", asked=False)

    library.home.before = breaks
    report = await library.run()

    by_isil = {each.home_isil: each for each in report.libraries}
    assert by_isil[HOME].tally.asked == by_isil[FRYSLAN].tally.asked == 20
    assert trials == FOUR_CONNECTIONS  # one for each: after that nobody asks on
    assert report.is_complete


async def test_r12_a_library_that_stays_away_changes_nobody_and_stops_nobody(library: Library) -> None:
    away = await library.register("1")
    there = await library.register("2", FRYSLAN)
    library.home.goes_down(HOME)
    report = await library.run()
    assert [(each.home_isil, each.left, each.problem) for each in report.libraries] == [
        (HOME, 1, "cannot connect"),
        (FRYSLAN, 0, None),
    ]
    assert (await library.show(there)).term.provisional is False
    assert ((await library.show(away)).status, (await library.show(away)).term.stale) == ("valid", True)


async def test_r12_a_guest_who_cannot_be_checked_stops_nobody_and_stays_due(library: Library) -> None:
    broken, guest_id, other = [await library.register(card) for card in ("1", "2", "3")]
    library.home.answers(HOME, "2", Refused((Reason.FINES,), False))
    await library.at(on_day(TOMORROW))
    pool, page = library.service.pool, "UPDATE terms_due SET {} WHERE stream_id = $1"
    await pool.execute(page.format("sealed_card = sealed_card || 'x'"), broken)
    await pool.execute(page.format("organisation = 'nobody'"), guest_id)

    report = await run_night(
        Night(TOMORROW), "operator", library.service.nights, Leases(pool), library.service.registration
    )

    assert report is not None
    assert (report.libraries[0].tally.asked, report.libraries[0].left) == (1, 2)
    assert report.libraries[0].problem == "a guest could not be changed: see the log"
    assert (await library.show(other)).term.provisional is False
    assert {(await library.show(each)).status for each in (broken, guest_id)} == {"valid"}


async def test_the_last_night_shows_at_metrics(library: Library) -> None:
    await library.register("1")
    await library.register("2", FRYSLAN)
    library.home.goes_down(HOME)
    await library.run()
    async with library.counter.client(scope="counter") as client:
        shown = (await client.get("/metrics")).text.splitlines()
    assert 'term_check_guests{outcome="confirmed"} 1.0' in shown
    assert 'term_check_guests{outcome="failed"} 1.0' in shown
    assert "term_check_left_guests 1.0" in shown
    assert "term_check_left_libraries 1.0" in shown
    ended = on_day(TOMORROW).timestamp()
    assert any(
        line.startswith("term_check_ended_timestamp_seconds ") and float(line.split()[1]) == ended
        for line in shown
    )


async def test_r14_who_registers_again_amid_the_question_keeps_what_home_said_last(
    library: Library,
) -> None:
    guest_id = await library.register("1")
    ended = Refused((Reason.EXPIRED,), because_ended=True)
    context = Context("1001", Metadata("clerk", uuid4()))

    async def expires_and_comes_back(_isil: str, _card: str) -> Verdict | None:
        library.home.before = None
        library.counter.clock.moment += timedelta(seconds=1)
        library.home.answers(HOME, "1", ended)
        async with library.counter.client(scope="counter", organisation="1001") as client:
            await client.post(f"/v1/guests/{guest_id}/home-check")
        library.counter.member("1")
        command = ReregisterGuest(guest_id, "04", None)
        await reregister_guest(command, context, library.service.registration)
        return ended

    library.home.before = expires_and_comes_back
    await library.run()
    assert (await library.show(guest_id)).status == "valid"


async def test_r19_who_was_erased_is_not_asked_about(library: Library) -> None:
    guest_id = await library.register("1")
    await library.at(on_day(TOMORROW))
    async with library.counter.client(scope="operator") as client:
        assert (await client.delete(f"/v1/guests/{guest_id}/personal-data")).status_code == 204
    await run_night(
        Night(TOMORROW),
        "operator",
        library.service.nights,
        Leases(library.service.pool),
        library.service.registration,
    )
    assert library.home.asked == []


async def test_r12_two_runs_never_go_on_at_once(library: Library) -> None:
    await library.register("1")
    others = Leases(library.service.pool)
    assert await others.take(TASK) is not None
    await library.at(on_day(TOMORROW))
    arguments = (library.service.nights, Leases(library.service.pool), library.service.registration)
    assert await run_night(Night(TOMORROW), "operator", *arguments) is None
    assert library.home.asked == []


@pytest.mark.parametrize(
    "day",
    [date(2026, 3, 29), date(2026, 10, 25), date(2028, 2, 29), date(2026, 12, 31), date(2027, 1, 1)],
    ids=["summer-time-begins", "summer-time-ends", "leap-day", "new-years-eve", "new-year"],
)
@pytest.mark.parametrize("starts_at", [time(2, 30), time(0, 0)], ids=["half-past-two", "midnight"])
async def test_r12_in_every_night_each_guest_is_asked_about_once(
    library: Library, day: date, starts_at: time
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
        await run_when_it_is_night(
            starts_at, library.service.nights, Leases(library.service.pool), library.service.registration
        )
        asked_at += [moment] * (len(library.home.asked) - before)
        moment += timedelta(minutes=15)
    assert sorted(library.home.asked) == [(HOME, "1"), (HOME, "2")]
    assert len(set(asked_at)) == 1
    report = await library.service.nights.last()
    assert report is not None
    assert (report.night.day, report.is_complete) == (day, True)


async def test_r12_until_the_morning_the_silent_are_asked_again_and_then_no_more(library: Library) -> None:
    await library.register("1")
    library.home.answers(HOME, "1", Unavailable("timed out"))
    await library.at(datetime.combine(TOMORROW, time(0), UTC))
    for minutes in range(0, 12 * 60, 5):
        library.counter.clock.moment = datetime.combine(TOMORROW, time(0), UTC) + timedelta(minutes=minutes)
        await run_when_it_is_night(
            time(2, 30), library.service.nights, Leases(library.service.pool), library.service.registration
        )
    # 00:30 to 05:00 UTC, a quarter of an hour apart, each time with its second chance
    assert len(library.home.asked) == 2 * 18
    report = await library.service.nights.last()
    assert report is not None
    assert (report.libraries[0].tally.asked, report.libraries[0].tally.failed) == (1, 1)


async def test_a_check_at_the_counter_counts_for_the_night_but_not_in_its_report(library: Library) -> None:
    guest_id = await library.register("1")
    await library.at(on_day(TOMORROW))
    check = TermCheck("unavailable", on_day(TOMORROW), stale=True)
    await library.service.registration.term_checks.record(guest_id, check)
    library.counter.clock.moment += timedelta(minutes=1)
    report = await run_night(
        Night(TOMORROW),
        "operator",
        library.service.nights,
        Leases(library.service.pool),
        library.service.registration,
    )
    assert report is not None
    assert report.libraries[0].tally.asked == report.libraries[0].tally.confirmed == 1
