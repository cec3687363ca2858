"""When a registration ended (R19), and what the screen says of a guest who is blocked (R12)."""

from __future__ import annotations

from uuid import UUID

from registration.domain.guest import Guest
from registration.domain.guest_state import display, ended_on
from registration.domain.verdict import Reason, Refused
from tests.support.scenario import given, noon
from tests.unit.registration.guest_events import SEPT_12, registered


def after(change: object = None) -> Guest:
    guest = given(registered()).aggregate
    if callable(change):
        change(guest)
    return guest


def test_r19_a_registration_that_runs_has_not_ended() -> None:
    fines = Refused((Reason.FINES,), False)
    suspended = after(lambda it: it.check_term(fines, today=SEPT_12, now=noon(SEPT_12)))
    assert ended_on(after().state) is None
    assert ended_on(suspended.state) is None


def test_r19_it_ended_when_it_expired_or_was_taken_back() -> None:
    expired = Refused((Reason.EXPIRED,), True)
    for change in (
        lambda it: it.check_term(expired, today=SEPT_12, now=noon(SEPT_12)),
        lambda it: it.deregister("verhuisd", today=SEPT_12, now=noon(SEPT_12)),
    ):
        assert ended_on(after(change).state) == SEPT_12


def test_r18_r19_a_merged_record_goes_with_its_guest_and_of_the_erased_nothing_ends() -> None:
    for change in (
        lambda it: it.merge_into(UUID(int=7), now=noon(SEPT_12)),
        lambda it: it.erase_personal_data(today=SEPT_12, now=noon(SEPT_12)),
    ):
        assert ended_on(after(change).state) is None


def test_r12_a_blocked_card_is_not_valid_and_nothing_is_said_of_its_end() -> None:
    fines = Refused((Reason.FINES,), False)
    blocked = after(lambda it: it.check_term(fines, today=SEPT_12, now=noon(SEPT_12))).state
    shown = display(blocked, SEPT_12)
    assert (shown.header, shown.card_notice, shown.expiry_line) == ("Geblokkeerd", "Pas niet geldig!", None)
    assert shown.expires_on is not None, "the block may be lifted: then this is the end"
