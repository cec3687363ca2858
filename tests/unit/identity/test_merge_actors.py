"""Two actors that are one person: I6, by the events that follow and by the logins afterwards."""

from __future__ import annotations

import asyncio
from datetime import date
from uuid import UUID, uuid4

import pytest

from identity.application.dependencies import BirthDates, Context, RegistrationUnavailable
from identity.application.merge_actors import ActorMerge, MergeActors, merge_actors, show_actor_merge
from identity.application.show_login_account import show_actor
from identity.domain.errors import (
    ActorNotFound,
    DifferentBirthDates,
    MergedBefore,
    MergedIntoMergedRecord,
    MergedWithItself,
)
from identity.domain.guest_link import Linked
from shared.event_log import CommandResult
from tests.support.identity import WISECAT, House, account_details, existing

HERE, THERE = "1001", "3003"


@pytest.fixture
def house() -> House:
    return House(account_details("jan"), account_details("tweede"))


async def merge(house: House, actor_id: UUID, into: UUID) -> CommandResult:
    return await merge_actors(MergeActors(actor_id, into), Context(WISECAT), house.deps)


async def preview(house: House, actor_id: UUID, into: UUID) -> ActorMerge:
    return await show_actor_merge(MergeActors(actor_id, into), house.deps)


async def too_late(house: House, name: str = "jan") -> tuple[UUID, UUID, UUID]:
    """Logged in before the registration: the account's actor, the login's own, and the guest."""
    own_actor = (await house.logs_in(name)).actor_id
    guest = house.counter.registers(name, existing(name))
    await house.deliver_all(guest)
    account = await house.account(name)
    assert account.guests[guest].too_late
    return account.actor_id, own_actor, guest


@pytest.mark.parametrize("other_way", [False, True])
async def test_i6_a_guest_linked_too_late_is_recognised_with_the_one_actor(
    house: House, other_way: bool
) -> None:
    of_account, of_login, guest = await too_late(house)
    merged, into = (of_account, of_login) if other_way else (of_login, of_account)
    events = len(await house.topics())
    await merge(house, merged, into)
    assert (await house.topics())[events:] == [
        "identity.login-account-actor-replaced",
        "identity.login-account-linked",
        "identity.actor-duplicate-merged",
        "identity.actor-merged",
    ]
    login = await house.logs_in("jan")
    assert (login.actor_id, login.new_actor, login.first_login) == (into, False, False)
    assert login.guest is not None
    assert (login.guest.guest_id, login.guest.too_late) == (guest, False)
    assert (await house.link(guest)).answer == Linked("acc-jan", into, too_late=False)
    assert (await house.published(guest))[-1] == (
        "login-account-linked.v1",
        {"account_id": "acc-jan", "actor_id": str(into)},
    )
    assert (await house.account("jan")).actor_id == into


async def test_i6_the_losing_actor_stays_as_a_signpost(house: House) -> None:
    of_account, of_login, guest = await too_late(house)
    await merge(house, of_login, of_account)
    signpost, survivor = (
        await show_actor(of_login, house.deps),
        await show_actor(of_account, house.deps),
    )
    assert (signpost.actor.merged_into, signpost.guests, signpost.logins) == (of_account, (), ())
    assert survivor.actor.merged_from == [of_login]
    assert [each.guest_id for each in survivor.guests] == [guest]
    assert [each.organisation for each in survivor.logins] == [HERE]


async def test_i6_linked_again_after_the_merge_is_in_time(house: House) -> None:
    of_account, of_login, guest = await too_late(house)
    await merge(house, of_login, of_account)
    house.counter.happens(guest, "login-account-unlinked.v1", reason="vergissing")
    house.counter.asks_link(guest, existing("jan"))
    await house.deliver_all(guest)
    assert (await house.link(guest)).answer == Linked("acc-jan", of_account, too_late=False)


async def test_i6_actors_of_two_accounts_become_one_and_guests_there_say_so(house: House) -> None:
    one = house.counter.registers("jan", existing("jan"))
    other = house.counter.registers("tweede", existing("tweede"), THERE)
    for guest in (one, other):
        await house.deliver_all(guest)
        house.registration.birth_dates[guest] = date(1980, 2, 3)
    first, second = [(await house.account(name)).actor_id for name in ("jan", "tweede")]
    assert (await preview(house, second, first)).birth_dates is BirthDates.SAME
    await merge(house, second, first)
    assert (await house.logs_in("tweede", THERE)).actor_id == first
    assert (await house.logs_in("jan", HERE)).actor_id == first
    assert {each.guest_id for each in (await show_actor(first, house.deps)).guests} == {one, other}


async def test_i6_signposts_follow_into_the_next_and_so_do_their_accounts(house: House) -> None:
    of_account, of_login, _ = await too_late(house)
    await house.logs_in("tweede", HERE)
    second = (await house.account("tweede")).actor_id
    await merge(house, of_login, of_account)
    await merge(house, of_account, second)
    for actor_id in (of_account, of_login):
        assert (await show_actor(actor_id, house.deps)).actor.merged_into == second
    assert (await house.logs_in("jan")).actor_id == second
    third = (await house.logs_in("tweede", "4004")).actor_id
    await merge(house, second, third)
    assert (await house.logs_in("jan")).actor_id == third
    assert set((await show_actor(third, house.deps)).actor.merged_from) == {of_account, of_login, second}


async def test_i6_different_birth_dates_block_it_and_nothing_is_written(house: House) -> None:
    child = house.counter.registers("kind", existing("jan"))
    parent = house.counter.registers("tweede", existing("tweede"))
    for guest, born in ((child, date(2015, 1, 1)), (parent, date(1980, 2, 3))):
        await house.deliver_all(guest)
        house.registration.birth_dates[guest] = born
    one, other = [(await house.account(name)).actor_id for name in ("jan", "tweede")]
    events = await house.topics()
    shown = await preview(house, one, other)
    assert (shown.merged, shown.birth_dates, type(shown.blocked)) == (
        False,
        BirthDates.DIFFERENT,
        DifferentBirthDates,
    )
    with pytest.raises(DifferentBirthDates):
        await merge(house, one, other)
    del house.registration.birth_dates[child]
    assert (await preview(house, one, other)).blocked is None
    assert await house.topics() == events


async def test_i6_while_registration_cannot_be_asked_nobody_is_merged_on_a_guess(house: House) -> None:
    for name in ("jan", "tweede"):
        await house.deliver_all(house.counter.registers(name, existing(name)))
    one, other = [(await house.account(name)).actor_id for name in ("jan", "tweede")]
    house.registration.unplugged = True
    with pytest.raises(RegistrationUnavailable):
        await merge(house, one, other)


async def test_i6_what_cannot_be_merged_is_told_and_again_changes_nothing(house: House) -> None:
    of_account, of_login, _ = await too_late(house)
    other = (await house.logs_in("tweede")).actor_id
    with pytest.raises(MergedWithItself):
        await merge(house, of_login, of_login)
    with pytest.raises(ActorNotFound):
        await merge(house, of_login, uuid4())
    position = await merge(house, of_login, of_account)
    assert await merge(house, of_login, of_account) == position
    assert (await preview(house, of_login, of_account)).merged
    with pytest.raises(MergedBefore):
        await merge(house, of_login, other)
    with pytest.raises(MergedIntoMergedRecord):
        await merge(house, other, of_login)


async def test_i6_merged_into_each_other_at_once_one_actor_is_left(house: House) -> None:
    of_account, of_login, _ = await too_late(house)
    outcomes = await asyncio.gather(
        merge(house, of_login, of_account), merge(house, of_account, of_login), return_exceptions=True
    )
    assert [type(each) for each in outcomes if isinstance(each, Exception)] == [MergedIntoMergedRecord]
    signposts = [(await show_actor(each, house.deps)).actor for each in (of_account, of_login)]
    (survivor,) = (each.id for each in signposts if each.merged_into is None)
    assert (await house.logs_in("jan")).actor_id == survivor


async def test_i9_an_actor_lives_on_with_the_account_that_is_left(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    await house.logs_in("tweede")
    first, second = [(await house.account(name)).actor_id for name in ("jan", "tweede")]
    await merge(house, second, first)
    house.counter.erases(guest)
    await house.deliver_all(guest)
    assert (await show_actor(first, house.deps)).guests == ()
    assert (await show_actor(second, house.deps)).actor.merged_into == first
