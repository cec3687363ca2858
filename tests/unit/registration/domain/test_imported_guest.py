"""R29: a guest of before, taken over from another system, is a guest like any other."""

from __future__ import annotations

from datetime import UTC, date, datetime

from registration.domain.contributions import Row, RowStatus
from registration.domain.events import (
    GuestDeregistered,
    GuestRegistered,
    LoginAccountLinkConfirmed,
    SubscriptionExpired,
    TermConfirmed,
)
from registration.domain.guest import Guest, ImportedRow
from registration.domain.guest_state import display, ended_on
from registration.domain.login_link import LinkState
from registration.domain.term_check import Status
from tests.support.scenario import begun, given, noon
from tests.unit.registration.guest_events import (
    CANCELLED,
    GUEST_ID,
    SEPT_11,
    SEPT_12,
    SEPT_15,
    admission,
    happened,
    imported,
    imported_guest,
    renewal,
    valid,
)

ENDED = (
    ImportedRow(date(2025, 6, 1), date(2025, 8, 31), RowStatus.INVALID),
    ImportedRow(date(2023, 2, 1), date(2025, 5, 31), RowStatus.VALID),
)


def test_r29_the_import_is_the_first_event_and_pretends_no_registration_of_today() -> None:
    outcome = begun(Guest.take_over(GUEST_ID, imported_guest(), now=noon(SEPT_11)))
    guest = outcome.then(imported())
    state = guest.state
    assert (state.status, state.lending_strips, state.link.state) == (Status.VALID, 125, LinkState.PENDING)
    assert (state.term.begin, state.term.end) == (date(2025, 2, 1), date(2026, 1, 31))
    assert not state.term.provisional
    assert {state.home_agreed_at, state.active_at, state.card_since, state.chip_since} == {
        datetime(2023, 1, 31, 23, tzinfo=UTC)
    }
    assert display(state, SEPT_11).expiry_line == "Vervalt 31-01-2026"


def test_r15_the_rows_are_those_of_the_other_system_and_go_on_here() -> None:
    of_before = ("1001", "9453", "346")
    second = Row(*of_before, date(2024, 3, 1), date(2025, 1, 31), RowStatus.INVALID)
    first = Row(*of_before, date(2023, 2, 1), date(2024, 2, 29), RowStatus.VALID)

    def check(guest: Guest) -> None:
        guest.check_term(CANCELLED, today=SEPT_12, now=noon(SEPT_12))

    outcome = given(imported()).when(check)
    guest = outcome.then(happened(SubscriptionExpired, on=SEPT_12, reason="overig"))
    assert guest.state.contributions.rows == (
        Row(*of_before, SEPT_12, date(2026, 1, 31), RowStatus.INVALID),
        Row(*of_before, date(2025, 2, 1), SEPT_11, RowStatus.VALID),
        second,
        first,
    )


def test_r12_the_nightly_check_replaces_an_imported_term() -> None:
    def check(guest: Guest) -> None:
        guest.check_term(valid(date(2026, 12, 31)), today=SEPT_11, now=noon(SEPT_11))

    given(imported()).when(check).then(happened(TermConfirmed, end=date(2026, 12, 31)))


def test_r13_a_guest_whose_subscription_had_ended_is_expired_since_that_day() -> None:
    guest = given(imported(rows=ENDED)).aggregate
    assert (guest.state.status, guest.state.reason) == (Status.EXPIRED, "overig")
    assert ended_on(guest.state) == date(2025, 6, 1)
    assert display(guest.state, SEPT_11).header == "Ongeldig  Opgezegd, reden overig"


def test_r14_an_imported_guest_is_registered_again_without_new_strips() -> None:
    def reregister(guest: Guest) -> None:
        guest.reregister("04", renewal(), today=SEPT_15, now=noon(SEPT_15))

    guest = given(imported(rows=ENDED, strips_granted=False)).when(reregister).aggregate
    assert (guest.state.status, guest.state.lending_strips) == (Status.VALID, 0)
    assert guest.state.contributions.rows[1].end == date(2025, 9, 14)


def test_r21_an_imported_guest_who_was_deregistered_may_be_registered() -> None:
    def register(guest: Guest) -> None:
        guest.register_afresh(admission(), today=SEPT_15, now=noon(SEPT_15))

    outcome = given(imported(), happened(GuestDeregistered, on=SEPT_12, reason="fout")).when(register)
    assert [event.kind for event in outcome.events] == [GuestRegistered]
    assert outcome.aggregate.state.contributions.past[0].end == SEPT_11


def test_i13_the_reply_of_identity_confirms_an_imported_link() -> None:
    def confirm(guest: Guest) -> None:
        guest.confirm_link("acc-jan", too_late=False, now=noon(SEPT_11))

    confirmed = happened(LoginAccountLinkConfirmed, account_id="acc-jan", too_late=False)
    assert given(imported()).when(confirm).then(confirmed).state.link.state is LinkState.LINKED


def test_r27_a_consent_that_no_file_can_give_does_not_exist() -> None:
    preferences = given(imported()).aggregate.state.preferences
    assert (preferences.newsletter, preferences.lending_history) == (False, False)
