"""What an erasure leaves of a guest (R19): its history, and nothing that can be done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from registration.domain.contributions import RowStatus
from registration.domain.errors import GuestErased
from registration.domain.events import (
    Encrypted,
    GuestDeregistered,
    LoginAccountLinkConfirmed,
    LoginAccountLinkRequested,
    PersonalDataErased,
    SubscriptionExpired,
)
from registration.domain.guest import Guest
from registration.domain.guest_state import display
from registration.domain.login_link import LinkRequest, LoginLink
from tests.support.scenario import Event, given, noon
from tests.unit.registration.guest_events import (
    CANCELLED,
    FINES,
    SEPT_11,
    SEPT_12,
    SEPT_15,
    admission,
    happened,
    registered,
    renewal,
    reregistered,
    valid,
)

Command = Callable[[Guest], None]

JAN = LinkRequest("existing", "acc-jan")
NEW = LinkRequest("new", "acc-new", Encrypted(b"username"))
LINKED = happened(LoginAccountLinkConfirmed, account_id="acc-jan", too_late=False)
EXPIRED = happened(SubscriptionExpired, on=SEPT_12, reason="overig")
GONE = happened(GuestDeregistered, on=SEPT_12, reason="vergissing")
ERASED = happened(PersonalDataErased, on=SEPT_15)


def erase(guest: Guest) -> None:
    guest.erase_personal_data(today=SEPT_15, now=noon(SEPT_15))


@pytest.mark.parametrize(
    "past",
    [
        [registered()],
        [registered(link_request=JAN), LINKED],
        [registered(link_request=NEW)],
        [registered(), EXPIRED],
        [registered(), GONE],
        [
            registered(),
            EXPIRED,
            reregistered(SEPT_15, JAN),
        ],
    ],
)
def test_r19_nothing_encrypted_and_no_account_is_left_of_any_guest(past: list[Event[Guest]]) -> None:
    guest = given(*past).when(erase).then(ERASED)
    state = guest.state
    assert (state.status, state.sealed_card, state.sealed_details) == ("erased", b"", b"")
    assert (state.new_accounts, state.link) == ({}, LoginLink())


def test_r19_a_second_erasure_is_no_event() -> None:
    given(registered(), ERASED).when(erase).then_nothing()


@pytest.mark.parametrize(
    "command",
    [
        lambda guest: guest.register_afresh(admission(), today=SEPT_15, now=noon(SEPT_15)),
        lambda guest: guest.reregister("04", renewal(), today=SEPT_15, now=noon(SEPT_15)),
        lambda guest: guest.request_link(JAN, now=noon(SEPT_15)),
        lambda guest: guest.unlink("vergissing", now=noon(SEPT_15)),
        lambda guest: guest.deregister("vergissing", today=SEPT_15, now=noon(SEPT_15)),
    ],
)
@pytest.mark.parametrize("past", [[], [EXPIRED], [GONE]])
def test_r19_every_command_on_an_erased_guest_is_refused(command: Command, past: list[Event[Guest]]) -> None:
    given(registered(), *past, ERASED).when(command).refused(GuestErased)


@pytest.mark.parametrize(
    "late_reply",
    [
        lambda guest: guest.confirm_link("acc-jan", too_late=False, now=noon(SEPT_15)),
        lambda guest: guest.confirm_link("acc-jan", too_late=True, now=noon(SEPT_15)),
        lambda guest: guest.refuse_link("acc-jan", "account-in-use", now=noon(SEPT_15)),
        lambda guest: guest.refuse_link(None, "account-in-use", now=noon(SEPT_15)),
        lambda guest: guest.check_term(valid(), today=SEPT_15, now=noon(SEPT_15)),
        lambda guest: guest.check_term(CANCELLED, today=SEPT_15, now=noon(SEPT_15)),
        lambda guest: guest.check_term(FINES, today=SEPT_15, now=noon(SEPT_15)),
    ],
)
def test_r19_an_answer_that_comes_after_the_erasure_changes_nothing(late_reply: Command) -> None:
    asked = happened(LoginAccountLinkRequested, **JAN.fields())
    given(registered(), asked, ERASED).when(late_reply).then_nothing()


def test_r19_the_rows_stay_and_none_runs_on() -> None:
    guest = given(registered()).when(erase).then(ERASED)
    [row] = guest.state.contributions.rows
    assert (row.begin, row.end, row.status) == (SEPT_11, SEPT_15.replace(day=14), RowStatus.VALID)
    assert guest.state.contributions.current is None


def test_r19_the_screen_says_that_the_person_is_gone() -> None:
    words = display(given(registered()).when(erase).then(ERASED).state, SEPT_15)
    assert (words.header, words.card_notice) == ("Persoonsgegevens gewist", "Pas niet geldig!")
    assert (words.expires_on, words.expiry_line, words.reregistration_preview) == (None, None, None)
