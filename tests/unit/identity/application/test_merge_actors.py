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
from tests.support.identity import WISECAT, InMemoryIdentity, account_details, existing

HERE, THERE = "1001", "3003"


@pytest.fixture
def in_memory_identity() -> InMemoryIdentity:
    return InMemoryIdentity(account_details("jan"), account_details("tweede"))


async def merge(in_memory_identity: InMemoryIdentity, actor_id: UUID, into: UUID) -> CommandResult:
    return await merge_actors(MergeActors(actor_id, into), Context(WISECAT), in_memory_identity.deps)


async def preview(in_memory_identity: InMemoryIdentity, actor_id: UUID, into: UUID) -> ActorMerge:
    return await show_actor_merge(MergeActors(actor_id, into), in_memory_identity.deps)


async def too_late(in_memory_identity: InMemoryIdentity, name: str = "jan") -> tuple[UUID, UUID, UUID]:
    """Logged in before the registration: the account's actor, the login's own, and the guest."""
    own_actor = (await in_memory_identity.logs_in(name)).actor_id
    guest = in_memory_identity.counter.registers(name, existing(name))
    await in_memory_identity.deliver_all(guest)
    account = await in_memory_identity.account(name)
    assert account.guests[guest].too_late
    return account.actor_id, own_actor, guest


@pytest.mark.parametrize("other_way", [False, True])
async def test_i6_a_guest_linked_too_late_is_recognised_with_the_one_actor(
    in_memory_identity: InMemoryIdentity, other_way: bool
) -> None:
    of_account, of_login, guest = await too_late(in_memory_identity)
    merged, into = (of_account, of_login) if other_way else (of_login, of_account)
    events = len(await in_memory_identity.topics())
    await merge(in_memory_identity, merged, into)
    assert (await in_memory_identity.topics())[events:] == [
        "identity.login-account-actor-replaced",
        "identity.login-account-linked",
        "identity.actor-duplicate-merged",
        "identity.actor-merged",
    ]
    login = await in_memory_identity.logs_in("jan")
    assert (login.actor_id, login.new_actor, login.first_login) == (into, False, False)
    assert login.guest is not None
    assert (login.guest.guest_id, login.guest.too_late) == (guest, False)
    assert (await in_memory_identity.link(guest)).answer == Linked("acc-jan", into, too_late=False)
    assert (await in_memory_identity.published(guest))[-1] == (
        "login-account-linked.v1",
        {"account_id": "acc-jan", "actor_id": str(into)},
    )
    assert (await in_memory_identity.account("jan")).actor_id == into


async def test_i6_the_losing_actor_stays_as_a_merged_record(in_memory_identity: InMemoryIdentity) -> None:
    of_account, of_login, guest = await too_late(in_memory_identity)
    await merge(in_memory_identity, of_login, of_account)
    merged_record, survivor = (
        await show_actor(of_login, in_memory_identity.deps),
        await show_actor(of_account, in_memory_identity.deps),
    )
    assert (merged_record.actor.merged_into, merged_record.guests, merged_record.logins) == (
        of_account,
        (),
        (),
    )
    assert survivor.actor.merged_from == [of_login]
    assert [each.guest_id for each in survivor.guests] == [guest]
    assert [each.organisation for each in survivor.logins] == [HERE]


async def test_i6_linked_again_after_the_merge_is_in_time(in_memory_identity: InMemoryIdentity) -> None:
    of_account, of_login, guest = await too_late(in_memory_identity)
    await merge(in_memory_identity, of_login, of_account)
    in_memory_identity.counter.happens(guest, "login-account-unlinked.v1", reason="vergissing")
    in_memory_identity.counter.asks_link(guest, existing("jan"))
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer == Linked("acc-jan", of_account, too_late=False)


async def test_i6_actors_of_two_accounts_become_one_and_guests_there_say_so(
    in_memory_identity: InMemoryIdentity,
) -> None:
    one = in_memory_identity.counter.registers("jan", existing("jan"))
    other = in_memory_identity.counter.registers("tweede", existing("tweede"), THERE)
    for guest in (one, other):
        await in_memory_identity.deliver_all(guest)
        in_memory_identity.registration.birth_dates[guest] = date(1980, 2, 3)
    first, second = [(await in_memory_identity.account(name)).actor_id for name in ("jan", "tweede")]
    assert (await preview(in_memory_identity, second, first)).birth_dates is BirthDates.SAME
    await merge(in_memory_identity, second, first)
    assert (await in_memory_identity.logs_in("tweede", THERE)).actor_id == first
    assert (await in_memory_identity.logs_in("jan", HERE)).actor_id == first
    assert {each.guest_id for each in (await show_actor(first, in_memory_identity.deps)).guests} == {
        one,
        other,
    }


async def test_i6_merged_records_follow_into_the_next_and_so_do_their_accounts(
    in_memory_identity: InMemoryIdentity,
) -> None:
    of_account, of_login, _ = await too_late(in_memory_identity)
    await in_memory_identity.logs_in("tweede", HERE)
    second = (await in_memory_identity.account("tweede")).actor_id
    await merge(in_memory_identity, of_login, of_account)
    await merge(in_memory_identity, of_account, second)
    for actor_id in (of_account, of_login):
        assert (await show_actor(actor_id, in_memory_identity.deps)).actor.merged_into == second
    assert (await in_memory_identity.logs_in("jan")).actor_id == second
    third = (await in_memory_identity.logs_in("tweede", "4004")).actor_id
    await merge(in_memory_identity, second, third)
    assert (await in_memory_identity.logs_in("jan")).actor_id == third
    assert set((await show_actor(third, in_memory_identity.deps)).actor.merged_from) == {
        of_account,
        of_login,
        second,
    }


async def test_i6_different_birth_dates_block_it_and_nothing_is_written(
    in_memory_identity: InMemoryIdentity,
) -> None:
    child = in_memory_identity.counter.registers("kind", existing("jan"))
    parent = in_memory_identity.counter.registers("tweede", existing("tweede"))
    for guest, born in ((child, date(2015, 1, 1)), (parent, date(1980, 2, 3))):
        await in_memory_identity.deliver_all(guest)
        in_memory_identity.registration.birth_dates[guest] = born
    one, other = [(await in_memory_identity.account(name)).actor_id for name in ("jan", "tweede")]
    events = await in_memory_identity.topics()
    shown = await preview(in_memory_identity, one, other)
    assert (shown.merged, shown.birth_dates, type(shown.blocked)) == (
        False,
        BirthDates.DIFFERENT,
        DifferentBirthDates,
    )
    with pytest.raises(DifferentBirthDates):
        await merge(in_memory_identity, one, other)
    del in_memory_identity.registration.birth_dates[child]
    assert (await preview(in_memory_identity, one, other)).blocked is None
    assert await in_memory_identity.topics() == events


async def test_i6_while_registration_cannot_be_asked_nobody_is_merged_on_a_guess(
    in_memory_identity: InMemoryIdentity,
) -> None:
    for name in ("jan", "tweede"):
        await in_memory_identity.deliver_all(in_memory_identity.counter.registers(name, existing(name)))
    one, other = [(await in_memory_identity.account(name)).actor_id for name in ("jan", "tweede")]
    in_memory_identity.registration.unplugged = True
    with pytest.raises(RegistrationUnavailable):
        await merge(in_memory_identity, one, other)


async def test_i6_what_cannot_be_merged_is_refused_and_again_changes_nothing(
    in_memory_identity: InMemoryIdentity,
) -> None:
    of_account, of_login, _ = await too_late(in_memory_identity)
    other = (await in_memory_identity.logs_in("tweede")).actor_id
    with pytest.raises(MergedWithItself):
        await merge(in_memory_identity, of_login, of_login)
    with pytest.raises(ActorNotFound):
        await merge(in_memory_identity, of_login, uuid4())
    position = await merge(in_memory_identity, of_login, of_account)
    assert await merge(in_memory_identity, of_login, of_account) == position
    assert (await preview(in_memory_identity, of_login, of_account)).merged
    with pytest.raises(MergedBefore):
        await merge(in_memory_identity, of_login, other)
    with pytest.raises(MergedIntoMergedRecord):
        await merge(in_memory_identity, other, of_login)


async def test_i6_merged_into_each_other_at_once_one_actor_is_left(
    in_memory_identity: InMemoryIdentity,
) -> None:
    of_account, of_login, _ = await too_late(in_memory_identity)
    outcomes = await asyncio.gather(
        merge(in_memory_identity, of_login, of_account),
        merge(in_memory_identity, of_account, of_login),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes if isinstance(each, Exception)] == [MergedIntoMergedRecord]
    merged_records = [
        (await show_actor(each, in_memory_identity.deps)).actor for each in (of_account, of_login)
    ]
    (survivor,) = (each.id for each in merged_records if each.merged_into is None)
    assert (await in_memory_identity.logs_in("jan")).actor_id == survivor


async def test_i9_an_actor_lives_on_with_the_account_that_is_left(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    await in_memory_identity.logs_in("tweede")
    first, second = [(await in_memory_identity.account(name)).actor_id for name in ("jan", "tweede")]
    await merge(in_memory_identity, second, first)
    in_memory_identity.counter.erases(guest)
    await in_memory_identity.deliver_all(guest)
    assert (await show_actor(first, in_memory_identity.deps)).guests == ()
    assert (await show_actor(second, in_memory_identity.deps)).actor.merged_into == first
