"""A login account: given these events, when this command, then these events."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest

from identity.domain.errors import AccountInUse
from identity.domain.guest_link import Linked
from identity.domain.guest_status import GuestStatus
from identity.domain.login_account import LoginAccount, login_account_stream, next_stream
from tests.support.scenario import NOW, begun, given
from tests.unit.identity.login_events import (
    EXPIRED,
    GUEST,
    HERE,
    HOME_ACTOR,
    OTHER_ACTOR,
    OTHER_GUEST,
    THERE,
    THIRD_ACTOR,
    VALID,
    account_event,
    fields_of,
    first_login,
    linked,
    opened,
    released,
)

Command = Callable[[LoginAccount], object]


def link(guest_id: UUID = GUEST, organisation: str = HERE, status: GuestStatus = VALID) -> Command:
    return lambda account: account.link(guest_id, organisation, status, NOW)


def release(guest_id: UUID = GUEST) -> Command:
    return lambda account: account.release(guest_id, NOW)


def erase(account: LoginAccount) -> bool:
    return account.erase(NOW)


def test_i1_an_account_is_known_by_its_id_alone() -> None:
    assert login_account_stream("acc-jan") == login_account_stream("acc-jan")
    assert login_account_stream("acc-jan") != login_account_stream("acc-piet")


def test_i1_an_account_is_opened_with_an_actor_of_its_own() -> None:
    account = LoginAccount.open(
        "acc-jan",
        stream=login_account_stream("acc-jan"),
        actor_id=HOME_ACTOR,
        home_isil="NL-070288",
        person_ref="ab",
        details=b"sealed",
        now=NOW,
    )
    assert account.id == login_account_stream("acc-jan")
    begun(account).then(opened())


def test_i9_an_erased_account_never_begins_in_a_stream_that_was_there() -> None:
    first = login_account_stream("acc-jan")
    second = next_stream(first)
    assert len({first, second, next_stream(second), login_account_stream("acc-piet")}) == 4
    assert second == next_stream(first)


def test_i9_an_account_without_a_guest_is_erased() -> None:
    outcome = given(opened(), linked(), released()).when(erase)
    account = outcome.then(account_event(LoginAccount.Erased))
    assert (outcome.returned, account.erased, account.details) == (True, True, b"")


def test_i9_an_account_that_a_guest_uses_stays() -> None:
    outcome = given(opened(), linked()).when(erase)
    account = outcome.then_nothing()
    assert (outcome.returned, account.erased, account.details) == (False, False, b"sealed")


def test_i2_a_link_ties_the_guest_to_the_accounts_actor() -> None:
    outcome = given(opened()).when(link())
    outcome.then(linked())
    assert outcome.returned == Linked("acc-jan", HOME_ACTOR, too_late=False)


def test_i3_the_same_pair_again_is_no_event() -> None:
    outcome = given(opened(), linked()).when(link())
    outcome.then_nothing()
    assert outcome.returned == Linked("acc-jan", HOME_ACTOR, too_late=False)


def test_i3_another_guest_of_the_same_organisation_is_refused() -> None:
    scenario = given(opened(), linked())
    error = scenario.when(link(OTHER_GUEST)).refused(AccountInUse)
    assert isinstance(error, AccountInUse)
    assert error.guest_id == GUEST
    scenario.when(link(OTHER_GUEST, THERE)).then(linked(OTHER_GUEST, THERE))


def test_i3_a_released_account_is_free_for_another_guest() -> None:
    scenario = given(opened(), linked())
    scenario.when(release()).then(released())
    scenario.when(release()).then_nothing()
    scenario.when(link(OTHER_GUEST)).then(linked(OTHER_GUEST))


def test_i4_only_the_first_login_of_an_organisation_is_an_event() -> None:
    scenario = given(opened())

    def log_in(organisation: str, actor_id: UUID, *, new_actor: bool) -> Command:
        return lambda account: account.record_first_login(
            organisation, actor_id, new_actor=new_actor, now=NOW
        )

    first = scenario.when(log_in(HERE, HOME_ACTOR, new_actor=False))
    first.then(first_login(HERE, HOME_ACTOR, new_actor=False))
    second = scenario.when(log_in(HERE, OTHER_ACTOR, new_actor=True))
    second.then_nothing()
    elsewhere = scenario.when(log_in(THERE, OTHER_ACTOR, new_actor=True))
    elsewhere.then(first_login(THERE, OTHER_ACTOR, new_actor=True))
    assert (first.returned, second.returned, elsewhere.returned) == (True, False, True)


def test_i6_after_a_login_that_made_its_own_actor_the_link_keeps_that_actor() -> None:
    scenario = given(opened(), first_login(HERE, OTHER_ACTOR))
    late = scenario.when(link())
    late.then(linked(actor_id=OTHER_ACTOR, too_late=True))
    assert late.returned == Linked("acc-jan", OTHER_ACTOR, too_late=True)
    in_time = scenario.when(link(OTHER_GUEST, THERE))
    in_time.then(linked(OTHER_GUEST, THERE))
    assert in_time.returned == Linked("acc-jan", HOME_ACTOR, too_late=False)


@pytest.mark.parametrize("other_way", [False, True])
def test_i6_a_merged_actor_is_replaced_everywhere_and_the_link_is_in_time(other_way: bool) -> None:
    merged, survivor = (HOME_ACTOR, OTHER_ACTOR) if other_way else (OTHER_ACTOR, HOME_ACTOR)
    late = linked(actor_id=OTHER_ACTOR, too_late=True)
    outcome = given(opened(), first_login(HERE, OTHER_ACTOR), late).when(
        lambda account: account.replace_actor(merged, survivor, NOW)
    )
    account = outcome.then(account_event(LoginAccount.ActorReplaced, actor_id=merged, by=survivor))
    guest = account.guests[GUEST]
    assert (account.actor_id, guest.actor_id, guest.too_late) == (survivor, survivor, False)
    assert account.first_logins[HERE].actor_id == survivor


def test_i6_an_actor_that_the_account_does_not_use_is_not_replaced() -> None:
    given(opened(), linked()).when(
        lambda account: account.replace_actor(THIRD_ACTOR, HOME_ACTOR, NOW)
    ).then_nothing()


def test_i7_a_guest_status_is_taken_over_once_and_the_link_stays() -> None:
    scenario = given(opened(), linked())
    account = scenario.when(change_guest_status(GUEST)).then(
        account_event(LoginAccount.GuestStatusChanged, guest_id=GUEST, **fields_of(EXPIRED))
    )
    guest = account.guest_at(HERE)
    assert guest is not None
    assert guest.guest_status == EXPIRED
    scenario.when(change_guest_status(GUEST)).then_nothing()
    scenario.when(change_guest_status(OTHER_GUEST)).then_nothing()


def change_guest_status(guest_id: UUID) -> Command:
    return lambda account: account.change_guest_status(guest_id, EXPIRED, NOW)
