"""Orphans: guests that registration lost in a restore are found, and released with name and reason."""

from uuid import UUID, uuid4

import pytest

from identity.application.dependencies import Context, RegistrationUnavailable
from identity.application.release_orphans import ReleaseOrphan, find_orphans, release_orphan
from identity.domain.errors import NotAnOrphan, OtherRegistrationLog
from identity.domain.guest_link import GuestLink
from identity.domain.guest_status import Status
from shared.event_log import Metadata
from shared.messaging.errors import CannotApply
from tests.support.identity import InMemoryIdentity, account_details, existing

LOG = "/registration/tests"
BY = Context(Metadata("an operator", uuid4()))


@pytest.fixture
def in_memory_identity() -> InMemoryIdentity:
    return InMemoryIdentity(account_details("jan"), account_details("oud"))


async def orphans_of(identity: InMemoryIdentity, followed: str | None = LOG) -> list[GuestLink]:
    return [link async for link in find_orphans(followed, identity.deps)]


async def lose(identity: InMemoryIdentity, guest_id: UUID) -> None:
    """Registration is restored to a moment before this guest."""
    del identity.registration.messages[guest_id]
    for index in (identity.registration.by_account, identity.registration.by_person):
        for guests in index.values():
            guests[:] = [guest for guest in guests if guest != guest_id]


async def registered(identity: InMemoryIdentity, name: str) -> UUID:
    guest_id = identity.counter.registers(name, existing(name))
    await identity.deliver_all(guest_id)
    return guest_id


async def test_who_is_not_there_is_found_and_nobody_else(in_memory_identity: InMemoryIdentity) -> None:
    lost, kept = await registered(in_memory_identity, "jan"), await registered(in_memory_identity, "oud")
    assert await orphans_of(in_memory_identity) == []
    await lose(in_memory_identity, lost)
    assert [link.id for link in await orphans_of(in_memory_identity)] == [lost]
    assert in_memory_identity.registration.messages.keys() == {kept}


async def test_i3_a_released_orphan_frees_its_account_for_the_same_person(
    in_memory_identity: InMemoryIdentity,
) -> None:
    lost = await registered(in_memory_identity, "jan")
    before = await in_memory_identity.logs_in("jan")
    await lose(in_memory_identity, lost)
    again = in_memory_identity.counter.registers("jan", existing("jan"))
    with pytest.raises(CannotApply):  # it waits for the account
        await in_memory_identity.deliver_all(again)

    await release_orphan(ReleaseOrphan(lost, "lost in a restore", LOG), BY, in_memory_identity.deps)

    assert (await in_memory_identity.link(lost)).guest_status.status == Status.DEREGISTERED
    [row] = in_memory_identity.log.rows("released_orphans")
    assert row == {"guest_id": lost, "reason": "lost in a restore", "released_by": "an operator"}
    await in_memory_identity.deliver_all(again)
    after = await in_memory_identity.logs_in("jan")
    assert after.guest is not None
    assert (after.guest.guest_id, after.actor_id) == (again, before.actor_id)
    assert await orphans_of(in_memory_identity) == []


async def test_who_is_no_orphan_is_not_released(in_memory_identity: InMemoryIdentity) -> None:
    lost, kept = await registered(in_memory_identity, "jan"), await registered(in_memory_identity, "oud")
    await lose(in_memory_identity, lost)
    await release_orphan(ReleaseOrphan(lost, "why", LOG), BY, in_memory_identity.deps)
    written = len(await in_memory_identity.topics())
    for guest_id in (kept, lost, uuid4()):
        with pytest.raises(NotAnOrphan):
            await release_orphan(ReleaseOrphan(guest_id, "why", LOG), BY, in_memory_identity.deps)
    assert len(await in_memory_identity.topics()) == written
    assert len(in_memory_identity.log.rows("released_orphans")) == 1


async def test_an_empty_log_of_another_registration_makes_nobody_an_orphan(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest_id = await registered(in_memory_identity, "jan")
    await lose(in_memory_identity, guest_id)
    in_memory_identity.registration.source = "/registration/another"
    with pytest.raises(OtherRegistrationLog):
        await orphans_of(in_memory_identity)
    with pytest.raises(OtherRegistrationLog):
        await release_orphan(ReleaseOrphan(guest_id, "why", LOG), BY, in_memory_identity.deps)
    in_memory_identity.registration.unplugged = True
    with pytest.raises(RegistrationUnavailable):
        await orphans_of(in_memory_identity)
    assert (await in_memory_identity.link(guest_id)).registered
