"""R12: what each answer from home means for a guest, and R13's expired guest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from registration.domain.events import GuestReinstated, GuestSuspended, SubscriptionExpired, TermConfirmed
from registration.domain.guest import Guest
from registration.domain.guest_state import display
from registration.domain.term import Term
from registration.domain.term_check import Status, leaves_stale, too_many_not_found
from registration.domain.verdict import UNREADABLE, Reason, Refused, Verdict
from tests.support.scenario import Event, given, noon
from tests.unit.registration.guest_events import (
    CANCELLED,
    FINES,
    NOT_FOUND,
    SEPT_11,
    SEPT_12,
    SEPT_15,
    UNAVAILABLE,
    happened,
    registered,
    renewal,
    reregistered,
    valid,
)

EXPIRED = happened(SubscriptionExpired, on=SEPT_12, reason="overig")
SUSPENDED = happened(GuestSuspended, reason="fines")
PROVISIONAL_END = date(2025, 12, 11)
NEXT_YEAR = date(2026, 12, 31)


def checked(verdict: Verdict, today: date = SEPT_12) -> Callable[[Guest], None]:
    def command(guest: Guest) -> None:
        guest.check_term(verdict, today=today, now=noon(today))

    return command


@pytest.mark.parametrize("end", [NEXT_YEAR, date(2025, 10, 1), SEPT_12])
def test_r12_from_the_day_after_homes_end_replaces_the_provisional_one(end: date) -> None:
    guest = given(registered()).when(checked(valid(end))).then(happened(TermConfirmed, end=end))
    assert guest.state.term == Term(SEPT_11, end, provisional=False)
    assert guest.state.contributions.rows[0].end == end


def test_r12_on_the_day_of_registration_the_provisional_term_stays() -> None:
    given(registered()).when(checked(valid(NEXT_YEAR), SEPT_11)).then_nothing()


def test_r12_an_end_at_home_counts_on_the_day_of_registration_too() -> None:
    (
        given(registered())
        .when(checked(CANCELLED, SEPT_11))
        .then(happened(SubscriptionExpired, on=SEPT_11, reason="overig"))
    )


def test_r12_the_same_end_gives_no_event() -> None:
    given(registered()).when(checked(valid(PROVISIONAL_END))).then_nothing()
    given(registered(), happened(TermConfirmed, end=NEXT_YEAR)).when(checked(valid(NEXT_YEAR))).then_nothing()


@pytest.mark.parametrize("verdict", [valid(NEXT_YEAR), valid(None), CANCELLED, FINES])
def test_r12_running_twice_changes_nothing(verdict: Verdict) -> None:
    scenario = given(registered())
    assert scenario.when(checked(verdict)).events != []
    scenario.when(checked(verdict)).then_nothing()


def test_r12_no_end_known_makes_the_term_open_ended() -> None:
    guest = given(registered()).when(checked(valid(None))).then(happened(TermConfirmed, end=None))
    assert guest.state.term.end is None
    assert display(guest.state, SEPT_12).header == "Normaal"
    assert display(guest.state, SEPT_12).expires_on is None


def test_r12_an_end_can_come_back_after_none_was_known() -> None:
    (
        given(registered(), happened(TermConfirmed, end=None))
        .when(checked(valid(NEXT_YEAR)))
        .then(happened(TermConfirmed, end=NEXT_YEAR))
    )


def test_r12_valid_but_past_its_end_is_expired() -> None:
    given(registered()).when(checked(valid(SEPT_11))).then(EXPIRED)


def test_r12_the_last_day_of_a_membership_is_still_valid() -> None:
    given(registered()).when(checked(valid(SEPT_12))).then(happened(TermConfirmed, end=SEPT_12))


def test_r12_refused_as_expired_or_cancelled_expires_with_reason_overig() -> None:
    guest = given(registered()).when(checked(CANCELLED)).then(EXPIRED)
    assert guest.state.status is Status.EXPIRED


def test_r12_a_block_suspends_and_leaves_the_rows_alone() -> None:
    before = given(registered())
    rows = before.aggregate.state.contributions
    guest = before.when(checked(FINES)).then(SUSPENDED)
    assert guest.state.status is Status.SUSPENDED
    assert guest.state.contributions == rows
    assert display(guest.state, SEPT_12).header == "Geblokkeerd"


def test_r12_a_block_that_stays_gives_no_second_event() -> None:
    lost = Refused((Reason.CARD_LOST,), because_ended=False)
    given(registered(), SUSPENDED).when(checked(lost)).then_nothing()


def test_r12_a_lifted_block_reinstates() -> None:
    guest = (
        given(registered(), SUSPENDED).when(checked(valid(PROVISIONAL_END))).then(happened(GuestReinstated))
    )
    assert guest.state.status is Status.VALID


def test_r12_a_lifted_block_with_a_new_end_does_both() -> None:
    (
        given(registered(), SUSPENDED)
        .when(checked(valid(NEXT_YEAR)))
        .then(happened(GuestReinstated), happened(TermConfirmed, end=NEXT_YEAR))
    )


@pytest.mark.parametrize("verdict", [CANCELLED, valid(SEPT_11)])
def test_r12_a_suspended_guest_whose_membership_ends_is_expired(verdict: Verdict) -> None:
    guest = given(registered(), SUSPENDED).when(checked(verdict)).then(EXPIRED)
    assert guest.state.status is Status.EXPIRED


UNUSABLE = [
    NOT_FOUND,
    UNAVAILABLE,
    valid(UNREADABLE),
    Refused((Reason.BLOCKED,), because_ended=False, ends_on=UNREADABLE),
]


@pytest.mark.parametrize("verdict", UNUSABLE)
@pytest.mark.parametrize("today", [SEPT_12, date(2026, 6, 1)])
def test_r12_without_a_usable_answer_the_term_is_kept_also_past_its_end(
    verdict: Verdict, today: date
) -> None:
    guest = given(registered()).when(checked(verdict, today)).then_nothing()
    assert guest.state.status is Status.VALID
    assert leaves_stale(verdict)


@pytest.mark.parametrize("verdict", [valid(NEXT_YEAR), valid(None), CANCELLED, FINES])
def test_r12_an_answer_is_not_stale(verdict: Verdict) -> None:
    assert not leaves_stale(verdict)


@pytest.mark.parametrize("verdict", [NOT_FOUND, UNAVAILABLE])
def test_r12_a_suspended_guest_is_not_reinstated_on_a_guess(verdict: Verdict) -> None:
    given(registered(), SUSPENDED).when(checked(verdict)).then_nothing()


@pytest.mark.parametrize("verdict", [valid(NEXT_YEAR), valid(None), CANCELLED, FINES, *UNUSABLE])
def test_r12_a_check_never_revives_an_expired_guest(verdict: Verdict) -> None:
    given(registered(), EXPIRED).when(checked(verdict, SEPT_15)).then_nothing()


def test_r12_the_day_of_reregistration_is_a_day_of_registration() -> None:
    scenario = given(registered(), EXPIRED)
    scenario.when(lambda guest: guest.reregister("04", renewal(), today=SEPT_15, now=noon(SEPT_15))).then(
        reregistered(SEPT_15)
    )
    scenario.when(checked(valid(NEXT_YEAR), SEPT_15)).then_nothing()
    scenario.when(checked(valid(NEXT_YEAR), date(2025, 9, 16))).then(happened(TermConfirmed, end=NEXT_YEAR))


def test_r13_an_expired_guest_shows_its_reason_and_that_the_card_is_not_valid() -> None:
    guest = given(registered(), EXPIRED).when(checked(UNAVAILABLE)).then_nothing()
    words = display(guest.state, SEPT_15)
    assert words.header == "Ongeldig  Opgezegd, reden overig"
    assert words.card_notice == "Pas niet geldig!"
    assert words.expires_on is None


def test_r16_the_rows_end_date_decides_what_a_valid_guest_shows() -> None:
    past: tuple[Event[Guest], ...] = (registered(), happened(TermConfirmed, end=date(2026, 2, 3)))
    guest = given(*past).when(checked(UNAVAILABLE)).then_nothing()
    words = display(guest.state, SEPT_15)
    assert (words.header, words.expiry_line) == ("Normaal Februari 2026", "Vervalt 28-02-2026")


@pytest.mark.parametrize(
    ("not_found", "guests", "too_many"),
    [(3, 1, False), (3, 40, False), (4, 40, True), (5, 100, False), (6, 100, True), (50, 1000, False)],
)
def test_r12_a_few_unknown_guests_are_ordinary_and_more_than_that_are_not(
    not_found: int, guests: int, too_many: bool
) -> None:
    assert too_many_not_found(not_found, guests, percent=5) is too_many
