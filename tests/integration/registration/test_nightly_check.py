"""The nightly check over a real database: who is asked, what comes of it, and what the report says (R12)."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from uuid import uuid4

import pytest

from registration.application.dependencies import Context, TermCheck
from registration.application.nightly_check import TASK, run_nightly_check
from registration.application.reregister_guest import ReregisterGuest, reregister_guest
from registration.bootstrap import view_source
from registration.domain.term_check import NightlyCheck
from registration.domain.verdict import (
    UNREADABLE,
    NotFound,
    PatronDetails,
    Reason,
    Refused,
    Unavailable,
    Valid,
    Verdict,
)
from registration.read_models.guest_directory import VIEW as GUEST_DIRECTORY
from registration.read_models.history import VIEW as HISTORY
from shared.event_log import Metadata
from shared.platform.leases import Leases
from tests.support.event_log import make_unreadable
from tests.support.projections import follow_all
from tests.support.registration import on_day
from tests.support.registration_service import FRYSLAN, HOME, JAN, TODAY, TOMORROW, NightlyApp
from tests.support.servers import execute_as_owner

FOUR_CONNECTIONS = 4  # of a home library in memory
PROVISIONAL_END = date(2025, 12, 11)


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
async def test_r12_each_answer_has_its_effect_and_is_counted(nightly_app: NightlyApp, which: str) -> None:
    answer, counted, (status, end, stale) = ANSWERS[which]
    guest_id = await nightly_app.register("1")
    nightly_app.home.answers(HOME, "1", answer)

    report = await nightly_app.run()

    view = await nightly_app.show(guest_id)
    assert (view.status, view.term.end, view.term.stale) == (status, end, stale)
    tally = report.libraries[0].tally.as_dict()
    expected = "unchanged" if which == "same-end" else counted
    assert (tally.pop("asked"), tally[expected]) == (1, 1)
    also_counted = {"stale"} if counted in {"not_found", "failed"} else set()
    assert {name for name, count in tally.items() if count} == {expected, *also_counted}
    assert report.is_complete == (which != "no-answer")


async def test_r12_a_block_that_is_lifted_reinstates_the_next_night(nightly_app: NightlyApp) -> None:
    guest_id = await nightly_app.register("1")
    nightly_app.home.answers(HOME, "1", Refused((Reason.FINES,), False))
    await nightly_app.run()
    nightly_app.app.member("1")
    report = await nightly_app.run(TOMORROW + timedelta(days=1))
    assert (await nightly_app.show(guest_id)).status == "valid"
    assert report.libraries[0].tally.reinstated == 1


async def test_r12_again_in_the_same_night_only_who_is_left_is_asked_and_nothing_is_written(
    nightly_app: NightlyApp,
) -> None:
    for card in ("1", "2", "3"):
        await nightly_app.register(card)
    nightly_app.home.answers(HOME, "2", Unavailable("timed out"))
    first = await nightly_app.run()
    assert (first.libraries[0].left, first.libraries[0].problem) == (1, "timed out")
    nightly_app.home.asked.clear()
    position = await nightly_app.service.log.position()

    nightly_app.home.answers(HOME, "2", Valid(JAN, PROVISIONAL_END, "2"))
    second = await nightly_app.run()

    assert nightly_app.home.asked == [(HOME, "2")]
    assert await nightly_app.service.log.position() == position
    tally = second.libraries[0].tally
    assert (tally.asked, tally.confirmed, tally.unchanged, tally.failed, tally.stale) == (3, 2, 1, 0, 0)
    assert (second.is_complete, second.libraries[0].problem) == (True, None)


async def test_r12_who_registered_today_is_not_asked_about_before_tomorrow(nightly_app: NightlyApp) -> None:
    await nightly_app.register("1")
    assert (await nightly_app.run(TODAY)).libraries == []
    assert nightly_app.home.asked == []
    await nightly_app.run(TOMORROW)
    assert nightly_app.home.asked == [(HOME, "1")]


async def test_r12_a_library_that_fails_is_left_alone_and_asked_again_when_the_others_are_done(
    nightly_app: NightlyApp,
) -> None:
    for number in range(20):
        await nightly_app.register(f"1{number:02}")
        await nightly_app.register(f"2{number:02}", FRYSLAN)
    trials = 0

    async def breaks(isil: str, _card: str) -> Verdict | None:
        nonlocal trials
        if isil == HOME or trials == FOUR_CONNECTIONS:
            return None
        trials += 1
        await asyncio.sleep(0)  # the other connections ask before this answer is here
        return Unavailable("left alone", asked=False)

    nightly_app.home.before = breaks
    report = await nightly_app.run()

    by_isil = {each.home_isil: each for each in report.libraries}
    assert by_isil[HOME].tally.asked == by_isil[FRYSLAN].tally.asked == 20
    assert trials == FOUR_CONNECTIONS  # one for each: after that no more questions are asked
    assert report.is_complete


async def test_r12_a_library_that_stays_away_changes_nobody_and_stops_nobody(nightly_app: NightlyApp) -> None:
    away = await nightly_app.register("1")
    there = await nightly_app.register("2", FRYSLAN)
    nightly_app.home.goes_down(HOME)
    report = await nightly_app.run()
    assert [(each.home_isil, each.left, each.problem) for each in report.libraries] == [
        (HOME, 1, "cannot connect"),
        (FRYSLAN, 0, None),
    ]
    assert (await nightly_app.show(there)).term.provisional is False
    assert ((await nightly_app.show(away)).status, (await nightly_app.show(away)).term.stale) == (
        "valid",
        True,
    )


async def test_r12_a_guest_who_cannot_be_checked_stops_nobody_and_stays_due(nightly_app: NightlyApp) -> None:
    guests = [await nightly_app.register(card) for card in ("1", "2", "3", "4", "5")]
    broken, guest_id, without_key, unreadable, other = guests
    for card in ("2", "4"):
        nightly_app.home.answers(HOME, card, Refused((Reason.FINES,), False))
    await nightly_app.at(on_day(TOMORROW))
    pool, page = nightly_app.service.pool, "UPDATE terms_due SET {} WHERE stream_id = $1"
    await pool.execute(page.format("sealed_card = sealed_card || 'x'"), broken)
    await pool.execute(page.format("organisation = 'nobody'"), guest_id)
    await execute_as_owner(pool, "UPDATE data_keys SET wrapped = 'x' WHERE subject_id = $1", without_key)
    await make_unreadable(nightly_app.service.log, unreadable)

    report = await run_nightly_check(
        NightlyCheck(TOMORROW),
        "operator",
        nightly_app.service.nightly_checks,
        Leases(pool),
        nightly_app.service.deps,
    )

    assert report is not None
    assert (report.libraries[0].tally.asked, report.libraries[0].left) == (1, 4)
    assert report.libraries[0].problem == "a guest could not be read or changed: see the log"
    assert (await nightly_app.show(other)).term.provisional is False
    assert {(await nightly_app.show(each)).status for each in (broken, guest_id)} == {"valid"}


async def test_the_last_night_shows_at_metrics(nightly_app: NightlyApp) -> None:
    await nightly_app.register("1")
    await nightly_app.register("2", FRYSLAN)
    nightly_app.home.goes_down(HOME)
    await nightly_app.run()
    async with nightly_app.app.client(scope="metrics") as client:
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
    nightly_app: NightlyApp,
) -> None:
    guest_id = await nightly_app.register("1")
    ended = Refused((Reason.EXPIRED,), because_ended=True)
    context = Context("1001", Metadata("clerk", uuid4()))

    async def expires_and_comes_back(_isil: str, _card: str) -> Verdict | None:
        nightly_app.home.before = None
        nightly_app.app.clock.moment += timedelta(seconds=1)
        nightly_app.home.answers(HOME, "1", ended)
        async with nightly_app.app.client(scope="counter", organisation="1001") as client:
            await client.post(f"/v1/guests/{guest_id}/home-check")
        nightly_app.app.member("1")
        command = ReregisterGuest(guest_id, "04", None)
        await reregister_guest(command, context, nightly_app.service.deps)
        return ended

    nightly_app.home.before = expires_and_comes_back
    await nightly_app.run()
    assert (await nightly_app.show(guest_id)).status == "valid"


async def test_r19_who_was_erased_is_not_asked_about(nightly_app: NightlyApp) -> None:
    guest_id = await nightly_app.register("1")
    await nightly_app.at(on_day(TOMORROW))
    async with nightly_app.app.client(scope="operator") as client:
        assert (await client.delete(f"/v1/guests/{guest_id}/personal-data")).status_code == 204
    await run_nightly_check(
        NightlyCheck(TOMORROW),
        "operator",
        nightly_app.service.nightly_checks,
        Leases(nightly_app.service.pool),
        nightly_app.service.deps,
    )
    assert nightly_app.home.asked == []


async def test_r12_two_runs_never_go_on_at_once(nightly_app: NightlyApp) -> None:
    await nightly_app.register("1")
    others = Leases(nightly_app.service.pool)
    lease = await others.take(TASK)
    assert lease is not None
    await nightly_app.at(on_day(TOMORROW))
    arguments = (
        nightly_app.service.nightly_checks,
        Leases(nightly_app.service.pool),
        nightly_app.service.deps,
    )
    assert await run_nightly_check(NightlyCheck(TOMORROW), "operator", *arguments) is None
    await others.release(lease)
    assert nightly_app.home.asked == []


async def test_a_check_at_the_counter_counts_for_the_night_but_not_in_its_report(
    nightly_app: NightlyApp,
) -> None:
    guest_id = await nightly_app.register("1")
    await nightly_app.at(on_day(TOMORROW))
    check = TermCheck("unavailable", on_day(TOMORROW), stale=True)
    await nightly_app.service.deps.term_checks.record(guest_id, check)
    nightly_app.app.clock.moment += timedelta(minutes=1)
    report = await nightly_app.run_now()
    assert report.libraries[0].tally.asked == report.libraries[0].tally.confirmed == 1


MARRIED = PatronDetails("J. de Vries", JAN.birth_date, "Nieuwe weg 2", "nieuw@example.org")
BORN_LATER = PatronDetails("J. Jansen", date(2001, 1, 1), JAN.address, JAN.email)
DAY_AFTER = TOMORROW + timedelta(days=1)


@pytest.mark.parametrize("row", ["as it is", "from before the rebuild"])
async def test_r24_a_new_number_and_new_details_are_taken_over_and_asked_by(
    nightly_app: NightlyApp, row: str
) -> None:
    guest_id = await nightly_app.register("1")
    await nightly_app.run()
    nightly_app.home.answers(HOME, "1", Valid(MARRIED, date(2026, 12, 31), "2"))
    await nightly_app.at(on_day(DAY_AFTER))
    if row == "from before the rebuild":
        await nightly_app.service.pool.execute("UPDATE terms_due SET sealed_details = NULL")
    report = await nightly_app.run_now(DAY_AFTER)
    assert report.libraries[0].tally.unchanged == 1
    view = await nightly_app.show(guest_id)
    assert (view.details, view.card_number, view.aliases) == (MARRIED, "2", ("1",))

    nightly_app.home.answers(HOME, "1", NotFound())
    nightly_app.home.answers(HOME, "2", Valid(MARRIED, date(2026, 12, 31), "2"))
    nightly_app.home.asked.clear()
    position = await nightly_app.service.log.position()
    await nightly_app.run(DAY_AFTER + timedelta(days=1))
    assert nightly_app.home.asked == [(HOME, "2")]
    assert await nightly_app.service.log.position() == position
    service = nightly_app.service
    await follow_all(service, [GUEST_DIRECTORY, HISTORY], view_source(service.settings))
    async with nightly_app.app.client(scope="counter", organisation="1001") as client:
        for query in ("1", "2", "vries"):
            found = (await client.get("/v1/guests", params={"query": query})).json()["guests"]
            assert [each["guest_id"] for each in found] == [str(guest_id)]
        history = (await client.get(f"/v1/guests/{guest_id}/history")).json()["history"]
    happened = {line["what"]: line["details"] for line in history}
    assert happened["card-number-changed"] == happened["patron-details-changed"] == {}


@pytest.mark.parametrize(
    ("answer", "counted", "reason"),
    [
        (Valid(BORN_LATER, None, "1"), "other_person", "other-person"),
        (Refused((Reason.FINES,), False, BORN_LATER), "other_person", "other-person"),
        (Valid(MARRIED, None, "2"), "card_taken", "card-of-another-guest"),
    ],
)
async def test_r25_a_reply_about_someone_else_marks_the_guest_and_changes_nothing(
    nightly_app: NightlyApp, answer: Verdict, counted: str, reason: str
) -> None:
    guest_id = await nightly_app.register("1")
    other_id = await nightly_app.register("2")
    nightly_app.home.answers(HOME, "1", answer)
    report = await nightly_app.run()
    view = await nightly_app.show(guest_id)
    assert (view.status, view.term.provisional, view.details, view.card_number) == ("valid", True, JAN, "1")
    assert (view.term.stale, view.home.verdict, view.home.reasons) == (True, "refused", (reason,))
    tally = report.libraries[0].tally.as_dict()
    assert (tally["stale"], tally[counted], tally["confirmed"], report.is_complete) == (1, 1, 1, True)
    assert (await nightly_app.show(other_id)).term.stale is False


async def test_r12_whoever_failed_is_asked_last_the_next_night(nightly_app: NightlyApp) -> None:
    cards = {await nightly_app.register(f"1{number:02}"): f"1{number:02}" for number in range(12)}
    bad = [cards[guest_id] for guest_id in sorted(cards)[:5]]

    async def garbled(_isil: str, card: str) -> Verdict | None:
        return Unavailable("reply cannot be understood") if card in bad else None

    nightly_app.home.before = garbled
    report = await nightly_app.run()
    assert (report.libraries[0].tally.confirmed, report.libraries[0].left) == (7, 5)
    nightly_app.home.asked.clear()
    await nightly_app.run(DAY_AFTER)
    asked = [card for _, card in nightly_app.home.asked]
    assert set(asked[:7]) == set(cards.values()) - set(bad)
    assert set(asked[7:12]) == set(asked[12:]) == set(bad)


async def test_r12_a_library_that_knows_too_few_of_its_guests_is_stopped_and_nobody_is_changed(
    nightly_app: NightlyApp,
) -> None:
    guests = [await nightly_app.register(f"1{number:02}") for number in range(20)]
    there = await nightly_app.register("2", FRYSLAN)
    position = await nightly_app.service.log.position()

    async def fails(isil: str, _card: str) -> Verdict | None:
        return NotFound() if isil == HOME else None

    nightly_app.home.before = fails
    report = await nightly_app.run()
    home, fryslan = report.libraries
    asked = [card for isil, card in nightly_app.home.asked if isil == HOME]
    assert len(asked) <= 4 + FOUR_CONNECTIONS
    assert (home.left, home.tally.not_found, home.tally.failed) == (20, 0, len(asked))
    assert home.problem == (
        f"stopped: not found was said of {len(asked)} of 20 guests, so its system may be failing;"
        " no guest was changed by that"
    )
    assert (fryslan.left, fryslan.problem) == (0, None)
    assert await nightly_app.service.log.position() == position + 1  # the term of the one in Fryslân
    assert {(await nightly_app.show(each)).status for each in (*guests, there)} == {"valid"}

    nightly_app.home.before = None
    nightly_app.app.clock.moment += timedelta(minutes=15)
    again = await nightly_app.run_now()
    assert (again.is_complete, again.libraries[0].tally.asked) == (True, 20)


async def test_r12_a_few_who_are_not_found_stop_no_library(nightly_app: NightlyApp) -> None:
    for card in ("1", "2", "3"):
        await nightly_app.register(card)
        nightly_app.home.answers(HOME, card, NotFound())
    report = await nightly_app.run()
    assert (report.is_complete, report.libraries[0].tally.not_found) == (True, 3)
