"""A login account and a guest's link: given these events, when this command, then these events."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from identity.domain.errors import AccountInUse, RefusalReason
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.guest_status import GuestStatus, Status
from identity.domain.login import Recognised, recognised_without_asking
from identity.domain.login_account import LoginAccount, login_account_stream, next_stream

NOW = datetime(2025, 9, 11, 12, tzinfo=UTC)
HOME_ACTOR, OTHER_ACTOR = UUID(int=1), UUID(int=2)
GUEST, OTHER_GUEST = UUID(int=11), UUID(int=12)
VALID = GuestStatus(Status.VALID, date(2025, 12, 11))
EXPIRED = GuestStatus(Status.EXPIRED, date(2025, 12, 11))


@pytest.fixture
def account() -> LoginAccount:
    """Given an account that was opened."""
    opened = LoginAccount.open(
        "acc-jan",
        stream=login_account_stream("acc-jan"),
        actor_id=HOME_ACTOR,
        home_isil="NL-070288",
        person_ref="ab",
        details=b"sealed",
        now=NOW,
    )
    opened.collect_events()
    return opened


def events(aggregate: Any) -> list[str]:
    """Then these events."""
    return [type(event).__name__ for event in aggregate.collect_events()]


def test_i1_an_account_is_known_by_its_id_alone() -> None:
    assert login_account_stream("acc-jan") == login_account_stream("acc-jan")
    assert login_account_stream("acc-jan") != login_account_stream("acc-piet")


def test_i9_an_erased_account_never_begins_in_a_stream_that_was_there(account: LoginAccount) -> None:
    second = next_stream(account.id)
    assert len({account.id, second, next_stream(second), login_account_stream("acc-piet")}) == 4
    assert second == next_stream(account.id)


def test_i9_an_account_without_a_guest_is_erased(account: LoginAccount) -> None:
    account.link(GUEST, "1001", VALID, NOW)
    account.release(GUEST, NOW)
    assert account.erase(NOW)
    assert events(account) == ["GuestLinked", "GuestReleased", "Erased"]
    assert (account.erased, account.details) == (True, b"")


def test_i9_an_account_that_a_guest_uses_stays(account: LoginAccount) -> None:
    account.link(GUEST, "1001", VALID, NOW)
    assert not account.erase(NOW)
    assert events(account) == ["GuestLinked"]
    assert (account.erased, account.details) == (False, b"sealed")


def test_i2_a_link_ties_the_guest_to_the_accounts_actor(account: LoginAccount) -> None:
    assert account.link(GUEST, "1001", VALID, NOW) == Linked("acc-jan", HOME_ACTOR, too_late=False)
    assert events(account) == ["GuestLinked"]


def test_i3_the_same_pair_again_is_no_event(account: LoginAccount) -> None:
    first = account.link(GUEST, "1001", VALID, NOW)
    assert account.link(GUEST, "1001", VALID, NOW) == first
    assert events(account) == ["GuestLinked"]


def test_i3_another_guest_of_the_same_organisation_is_refused(account: LoginAccount) -> None:
    account.link(GUEST, "1001", VALID, NOW)
    with pytest.raises(AccountInUse):
        account.link(OTHER_GUEST, "1001", VALID, NOW)
    account.link(OTHER_GUEST, "2002", VALID, NOW)
    assert events(account) == ["GuestLinked", "GuestLinked"]


def test_i3_a_released_account_is_free_for_another_guest(account: LoginAccount) -> None:
    account.link(GUEST, "1001", VALID, NOW)
    account.release(GUEST, NOW)
    account.release(GUEST, NOW)
    account.link(OTHER_GUEST, "1001", VALID, NOW)
    assert events(account) == ["GuestLinked", "GuestReleased", "GuestLinked"]


def test_i4_only_the_first_login_of_an_organisation_is_an_event(account: LoginAccount) -> None:
    assert account.record_first_login("1001", HOME_ACTOR, new_actor=False, now=NOW)
    assert not account.record_first_login("1001", OTHER_ACTOR, new_actor=True, now=NOW)
    assert account.record_first_login("2002", OTHER_ACTOR, new_actor=True, now=NOW)
    assert events(account) == ["FirstLoginRecorded", "FirstLoginRecorded"]


def test_i4_the_order_of_what_the_account_knows_by_itself(account: LoginAccount) -> None:
    def retry_on_conflict(at_home: bool = False) -> Recognised | None:
        return recognised_without_asking(account, "1001", at_home=at_home)

    assert retry_on_conflict() is None
    assert retry_on_conflict(at_home=True) == Recognised(HOME_ACTOR, None)
    account.record_first_login("1001", OTHER_ACTOR, new_actor=True, now=NOW)
    assert retry_on_conflict(at_home=True) == Recognised(OTHER_ACTOR, None)
    account.link(GUEST, "1001", VALID, NOW)
    assert retry_on_conflict(at_home=True) == Recognised(OTHER_ACTOR, account.guest_at("1001"))


def test_i4_a_first_login_through_a_link_makes_no_actor_of_its_own(account: LoginAccount) -> None:
    account.link(GUEST, "1001", VALID, NOW)
    account.record_first_login("1001", HOME_ACTOR, new_actor=False, now=NOW)
    account.release(GUEST, NOW)
    assert recognised_without_asking(account, "1001", at_home=False) is None


def test_i6_after_a_login_that_made_its_own_actor_the_link_keeps_that_actor(account: LoginAccount) -> None:
    account.record_first_login("1001", OTHER_ACTOR, new_actor=True, now=NOW)
    assert account.link(GUEST, "1001", VALID, NOW) == Linked("acc-jan", OTHER_ACTOR, too_late=True)
    assert account.link(OTHER_GUEST, "2002", VALID, NOW) == Linked("acc-jan", HOME_ACTOR, too_late=False)


def test_i7_a_standing_is_taken_over_once_and_the_link_stays(account: LoginAccount) -> None:
    account.link(GUEST, "1001", VALID, NOW)
    account.change_guest_status(GUEST, EXPIRED, NOW)
    account.change_guest_status(GUEST, EXPIRED, NOW)
    account.change_guest_status(OTHER_GUEST, EXPIRED, NOW)
    assert events(account) == ["GuestLinked", "GuestStatusChanged"]
    guest = account.guest_at("1001")
    assert guest is not None
    assert guest.guest_status == EXPIRED


def test_i7_block_and_expiry_are_different_states() -> None:
    assert VALID.suspended().reinstated() == VALID
    assert EXPIRED.suspended() == EXPIRED
    assert VALID.suspended().expired().reinstated() == EXPIRED
    assert EXPIRED.reinstated() == EXPIRED


@pytest.fixture
def link() -> GuestLink:
    """Given a guest that was noted."""
    noted = GuestLink.note(GUEST, organisation="1001", person_ref="ab", ends_on=date(2025, 12, 11), now=NOW)
    noted.collect_events()
    return noted


def test_i3_every_request_gets_an_answer_of_its_own(link: GuestLink) -> None:
    linked = Linked("acc-jan", HOME_ACTOR, too_late=False)
    link.refuse("acc-jan", RefusalReason.UNKNOWN_ACCOUNT, NOW)
    link.refuse("acc-jan", RefusalReason.UNKNOWN_ACCOUNT, NOW)
    link.confirm(linked, NOW)
    link.confirm(linked, NOW)
    assert events(link) == ["LoginAccountLinkRefused"] * 2 + ["LoginAccountLinked"] * 2


def test_i3_letting_go_is_an_event_only_when_there_is_something_to_let_go(link: GuestLink) -> None:
    link.release(NOW)
    link.refuse("acc-jan", RefusalReason.UNKNOWN_ACCOUNT, NOW)
    link.release(NOW)
    assert events(link) == ["LoginAccountLinkRefused", "LoginAccountReleased"]


def test_i7_the_same_standing_again_is_no_event(link: GuestLink) -> None:
    link.change_guest_status(VALID, NOW)
    link.change_guest_status(EXPIRED, NOW)
    assert events(link) == ["StandingChanged"]
