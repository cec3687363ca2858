"""I13: the link of an imported guest existed before the logins here, so it is never too late."""

from __future__ import annotations

from datetime import date

import pytest

from identity.domain.actor import Actor
from identity.domain.errors import LinkRequired, RefusalReason
from identity.domain.guest_link import Linked, Refused
from identity.domain.guest_status import GuestStatus, Status
from tests.support.identity import ENDS_ON, InMemoryIdentity, account_details, existing


@pytest.fixture
def identity() -> InMemoryIdentity:
    return InMemoryIdentity(account_details("jan"), account_details("piet"))


async def test_i13_an_imported_link_is_confirmed_and_makes_up_no_first_login(
    identity: InMemoryIdentity,
) -> None:
    guest = identity.counter.imports("jan", existing("jan"))
    await identity.deliver_all(guest)
    account = await identity.account("jan")
    assert (await identity.link(guest)).answer == Linked("acc-jan", account.actor_id, too_late=False)
    assert account.first_logins == {}
    logged_in = await identity.logs_in("jan")
    assert (logged_in.actor_id, logged_in.new_actor) == (account.actor_id, False)
    assert logged_in.guest is not None
    assert logged_in.guest.guest_id == guest


@pytest.mark.parametrize("delivered", [True, False])
async def test_i13_a_login_that_came_before_the_import_splits_nobody(
    identity: InMemoryIdentity, delivered: bool
) -> None:
    """A new actor was right for all that was known then; the link that existed makes both actors one."""
    before = await identity.logs_in("jan")
    assert before.new_actor
    elsewhere = identity.counter.registers("jan", existing("jan"), organisation="3003")
    await identity.deliver_all(elsewhere)
    guest = identity.counter.imports("jan", existing("jan"))
    if delivered:
        await identity.deliver_all(guest)
    again = await identity.logs_in("jan")
    await identity.deliver_all(guest)
    account = await identity.account("jan")
    after = await identity.logs_in("jan")
    at_other_library = await identity.logs_in("jan", "3003")
    assert {after.actor_id, at_other_library.actor_id} == {account.actor_id}
    assert again.actor_id == (account.actor_id if delivered else before.actor_id)
    assert not account.guests[guest].too_late
    assert (await identity.link(guest)).answer == Linked("acc-jan", account.actor_id, too_late=False)
    assert (await identity.store.load(Actor, before.actor_id)).merged_into == account.actor_id
    first_logins = [each for each in await identity.topics() if each.endswith("first-login-recorded")]
    assert len(first_logins) == 2  # both made by logins: at 1001 before the import, and at 3003
    assert account.first_logins["1001"].at == identity.deps.clock.now()


async def test_i6_a_link_that_a_clerk_makes_is_still_too_late(identity: InMemoryIdentity) -> None:
    await identity.logs_in("jan")
    guest = identity.counter.imports("jan")
    await identity.deliver_all(guest)
    identity.counter.asks_link(guest, existing("jan"))
    await identity.deliver_all(guest)
    assert (await identity.account("jan")).guests[guest].too_late


async def test_i13_an_imported_link_to_an_account_in_use_is_refused_and_merges_nobody(
    identity: InMemoryIdentity,
) -> None:
    first = identity.counter.registers("jan", existing("jan"))
    await identity.deliver_all(first)
    guest = identity.counter.imports("piet", existing("jan"))
    await identity.deliver_all(guest)
    assert (await identity.link(guest)).answer == Refused("acc-jan", RefusalReason.ACCOUNT_IN_USE)
    assert "identity.actor-merged" not in await identity.topics()


async def test_i7_an_imported_guest_whose_subscription_had_ended_is_expired(
    identity: InMemoryIdentity,
) -> None:
    guest = identity.counter.imports("jan", existing("jan"), expired_on=date(2025, 6, 1))
    await identity.deliver_all(guest)
    expected = GuestStatus(Status.EXPIRED, date(2025, 6, 1))
    assert (await identity.link(guest)).guest_status == expected
    assert (await identity.account("jan")).guests[guest].guest_status == expected


async def test_i4_an_imported_guest_without_a_link_needs_one(identity: InMemoryIdentity) -> None:
    guest = identity.counter.imports("jan")
    await identity.deliver_all(guest)
    assert (await identity.link(guest)).guest_status == GuestStatus(Status.VALID, ENDS_ON)
    with pytest.raises(LinkRequired):
        await identity.logs_in("jan")
