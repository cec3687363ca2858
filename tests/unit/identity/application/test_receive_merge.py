"""Two records of one guest at registration, and what identity makes of it (R18)."""

from __future__ import annotations

from uuid import UUID

import pytest

from identity.application.dependencies import BeingMerged
from identity.domain.errors import LinkRequired, RefusalReason
from identity.domain.guest_link import Linked, Refused
from identity.domain.guest_status import Status
from shared.messaging.errors import CannotApply
from tests.support.identity import GUEST_ORGANISATION, InMemoryIdentity, account_details, existing, person


@pytest.fixture
def in_memory_identity() -> InMemoryIdentity:
    return InMemoryIdentity(account_details("jan"), account_details("oud"), account_details("nieuw"))


def merges(in_memory_identity: InMemoryIdentity, guest: UUID, into: UUID) -> None:
    """Registration commits it, and from then on names the survivor too."""
    in_memory_identity.counter.happens(guest, "guests-merged.v1", into=str(into))
    for index in (in_memory_identity.registration.by_account, in_memory_identity.registration.by_person):
        for guests in index.values():
            if guest in guests and into not in guests:
                guests.append(into)


async def test_r18_the_other_s_account_is_released_and_published(
    in_memory_identity: InMemoryIdentity,
) -> None:
    survivor = in_memory_identity.counter.registers("jan", existing("jan"))
    merged_record = in_memory_identity.counter.registers("oud", existing("oud"))
    await in_memory_identity.deliver_all(survivor)
    await in_memory_identity.deliver_all(merged_record)
    merges(in_memory_identity, merged_record, survivor)
    await in_memory_identity.deliver_all(merged_record)
    link = await in_memory_identity.link(merged_record)
    assert (link.answer, link.guest_status.status, link.merged_into) == (None, Status.DEREGISTERED, survivor)
    assert (await in_memory_identity.account("oud")).guests == {}
    assert [kind for kind, _ in await in_memory_identity.published(merged_record)][-3:] == [
        "guest-merged.v1",
        "login-account-released.v1",
        "guest-standing-changed.v1",
    ]
    assert (await in_memory_identity.logs_in("jan")).guest is not None


async def test_r18_the_account_is_free_for_the_survivor_whatever_comes_first(
    in_memory_identity: InMemoryIdentity,
) -> None:
    survivor = in_memory_identity.counter.registers("jan")
    merged_record = in_memory_identity.counter.registers("oud", existing("oud"))
    await in_memory_identity.deliver_all(merged_record)
    merges(in_memory_identity, merged_record, survivor)
    in_memory_identity.counter.asks_link(survivor, existing("oud"))
    with pytest.raises(CannotApply) as waits:
        await in_memory_identity.deliver_all(survivor)
    assert isinstance(waits.value.__cause__, BeingMerged)
    await in_memory_identity.deliver_all(merged_record)
    await in_memory_identity.deliver_all(survivor)
    account = await in_memory_identity.account("oud")
    assert (await in_memory_identity.link(survivor)).answer == Linked(
        "acc-oud", account.actor_id, too_late=False
    )


async def test_r18_an_account_that_another_guest_has_is_refused_as_ever(
    in_memory_identity: InMemoryIdentity,
) -> None:
    child, parent = (
        in_memory_identity.counter.registers("jan", existing("jan")),
        in_memory_identity.counter.registers("oud"),
    )
    await in_memory_identity.deliver_all(child)
    in_memory_identity.counter.asks_link(parent, existing("jan"))
    await in_memory_identity.deliver_all(parent)
    assert (await in_memory_identity.link(parent)).answer == Refused("acc-jan", RefusalReason.ACCOUNT_IN_USE)


@pytest.mark.parametrize("delivered", [True, False])
async def test_r18_i5_a_login_with_the_merged_record_s_account_is_no_new_actor(
    in_memory_identity: InMemoryIdentity, delivered: bool
) -> None:
    """Its account has another person's card, so only the account leads to the person."""
    survivor = in_memory_identity.counter.registers("jan", existing("jan"))
    merged_record = in_memory_identity.counter.registers("oud", existing("nieuw"))
    merges(in_memory_identity, merged_record, survivor)
    if delivered:
        await in_memory_identity.deliver_all(merged_record)
        await in_memory_identity.deliver_all(survivor)
    with pytest.raises(LinkRequired):
        await in_memory_identity.logs_in("nieuw")
    with pytest.raises(LinkRequired):
        await in_memory_identity.logs_in("oud")
    assert (await in_memory_identity.logs_in("jan")).guest is not None


async def test_r18_once_the_survivor_is_gone_too_nobody_is_sent_to_the_counter(
    in_memory_identity: InMemoryIdentity,
) -> None:
    survivor, merged_record = (
        in_memory_identity.counter.registers("jan"),
        in_memory_identity.counter.registers("oud", existing("nieuw")),
    )
    merges(in_memory_identity, merged_record, survivor)
    in_memory_identity.counter.happens(survivor, "guest-deregistered.v1", reason="vergissing")
    assert (await in_memory_identity.logs_in("nieuw")).new_actor


async def test_r18_pointed_elsewhere_the_account_that_it_had_is_still_known(
    in_memory_identity: InMemoryIdentity,
) -> None:
    first, second = in_memory_identity.counter.registers("jan"), in_memory_identity.counter.registers("kees")
    merged_record = in_memory_identity.counter.registers("oud", existing("nieuw"))
    merges(in_memory_identity, merged_record, first)
    merges(in_memory_identity, merged_record, second)
    in_memory_identity.counter.happens(first, "guests-merged.v1", into=str(second))
    with pytest.raises(LinkRequired):
        await in_memory_identity.logs_in("nieuw")
    link = await in_memory_identity.link(merged_record)
    assert (link.merged_into, link.merged_account) == (second, "acc-nieuw")


async def test_r18_r19_an_erased_merged_record_releases_its_account_too(
    in_memory_identity: InMemoryIdentity,
) -> None:
    survivor, merged_record = (
        in_memory_identity.counter.registers("jan"),
        in_memory_identity.counter.registers("oud", existing("oud")),
    )
    await in_memory_identity.deliver_all(merged_record)
    merges(in_memory_identity, merged_record, survivor)
    in_memory_identity.counter.erases(merged_record)
    await in_memory_identity.deliver_all(merged_record)
    assert (await in_memory_identity.link(merged_record)).erased
    assert (await in_memory_identity.logs_in("jan", "3003")).new_actor
    assert merged_record not in in_memory_identity.registration.by_person[GUEST_ORGANISATION, person("oud")]
