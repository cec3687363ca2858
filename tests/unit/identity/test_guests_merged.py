"""Two records of one guest at registration, and what identity makes of it (R18)."""

from __future__ import annotations

from uuid import UUID

import pytest

from identity.application.dependencies import BeingMerged
from identity.domain.errors import LinkRequired, RefusalReason
from identity.domain.guest_link import Linked, Refused
from identity.domain.guest_status import Status
from shared.messaging.errors import CannotApply
from tests.support.identity import GUEST_ORGANISATION, House, account_details, existing, person


@pytest.fixture
def house() -> House:
    return House(account_details("jan"), account_details("oud"), account_details("nieuw"))


def merges(house: House, guest: UUID, into: UUID) -> None:
    """Registration commits it, and from then on names the survivor too."""
    house.counter.happens(guest, "guests-merged.v1", into=str(into))
    for index in (house.registration.by_account, house.registration.by_person):
        for guests in index.values():
            if guest in guests and into not in guests:
                guests.append(into)


async def test_r18_the_other_s_account_is_released_and_told(house: House) -> None:
    survivor = house.counter.registers("jan", existing("jan"))
    signpost = house.counter.registers("oud", existing("oud"))
    await house.deliver_all(survivor)
    await house.deliver_all(signpost)
    merges(house, signpost, survivor)
    await house.deliver_all(signpost)
    link = await house.link(signpost)
    assert (link.answer, link.guest_status.status, link.merged_into) == (None, Status.DEREGISTERED, survivor)
    assert (await house.account("oud")).guests == {}
    assert [kind for kind, _ in await house.published(signpost)][-3:] == [
        "guest-merged.v1",
        "login-account-released.v1",
        "guest-standing-changed.v1",
    ]
    assert (await house.logs_in("jan")).guest is not None


async def test_r18_the_account_is_free_for_the_survivor_whatever_comes_first(house: House) -> None:
    survivor = house.counter.registers("jan")
    signpost = house.counter.registers("oud", existing("oud"))
    await house.deliver_all(signpost)
    merges(house, signpost, survivor)
    house.counter.asks_link(survivor, existing("oud"))
    with pytest.raises(CannotApply) as waits:
        await house.deliver_all(survivor)
    assert isinstance(waits.value.__cause__, BeingMerged)
    await house.deliver_all(signpost)
    await house.deliver_all(survivor)
    account = await house.account("oud")
    assert (await house.link(survivor)).answer == Linked("acc-oud", account.actor_id, too_late=False)


async def test_r18_an_account_that_another_guest_has_is_refused_as_ever(house: House) -> None:
    child, parent = house.counter.registers("jan", existing("jan")), house.counter.registers("oud")
    await house.deliver_all(child)
    house.counter.asks_link(parent, existing("jan"))
    await house.deliver_all(parent)
    assert (await house.link(parent)).answer == Refused("acc-jan", RefusalReason.ACCOUNT_IN_USE)


@pytest.mark.parametrize("delivered", [True, False])
async def test_r18_i5_a_login_with_the_merged_record_s_account_is_no_new_actor(
    house: House, delivered: bool
) -> None:
    """Its account is somebody else's card, so only the account leads to the person."""
    survivor = house.counter.registers("jan", existing("jan"))
    signpost = house.counter.registers("oud", existing("nieuw"))
    merges(house, signpost, survivor)
    if delivered:
        await house.deliver_all(signpost)
        await house.deliver_all(survivor)
    with pytest.raises(LinkRequired):
        await house.logs_in("nieuw")
    with pytest.raises(LinkRequired):
        await house.logs_in("oud")
    assert (await house.logs_in("jan")).guest is not None


async def test_r18_once_the_survivor_is_gone_too_nobody_is_sent_to_the_counter(house: House) -> None:
    survivor, signpost = house.counter.registers("jan"), house.counter.registers("oud", existing("nieuw"))
    merges(house, signpost, survivor)
    house.counter.happens(survivor, "guest-deregistered.v1", reason="vergissing")
    assert (await house.logs_in("nieuw")).new_actor


async def test_r18_pointed_elsewhere_the_account_that_it_had_is_still_known(house: House) -> None:
    first, second = house.counter.registers("jan"), house.counter.registers("kees")
    signpost = house.counter.registers("oud", existing("nieuw"))
    merges(house, signpost, first)
    merges(house, signpost, second)
    house.counter.happens(first, "guests-merged.v1", into=str(second))
    with pytest.raises(LinkRequired):
        await house.logs_in("nieuw")
    link = await house.link(signpost)
    assert (link.merged_into, link.merged_account) == (second, "acc-nieuw")


async def test_r18_r19_an_erased_signpost_lets_go_too(house: House) -> None:
    survivor, signpost = house.counter.registers("jan"), house.counter.registers("oud", existing("oud"))
    await house.deliver_all(signpost)
    merges(house, signpost, survivor)
    house.counter.erases(signpost)
    await house.deliver_all(signpost)
    assert (await house.link(signpost)).erased
    assert (await house.logs_in("jan", "3003")).new_actor
    assert signpost not in house.registration.by_person[GUEST_ORGANISATION, person("oud")]
