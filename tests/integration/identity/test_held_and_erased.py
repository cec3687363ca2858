"""A guest whose messages are held, and who is erased meanwhile: nothing waits for an operator (R19, I9)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

from identity.application.repository import find_account
from tests.support.eventually import eventually
from tests.support.identity import new
from tests.support.identity_service import LoginDesk


async def parked_guest(desk: LoginDesk) -> UUID:
    """A guest with an account of its own, and a message that cannot be handled."""
    guest = desk.counter.registers("kees", new("acc-new"))
    desk.counter.wants_new_account(guest, "acc-new", "kees")
    desk.counter.happens(guest, "term-confirmed.v1")  # without its data
    await desk.deliver_all(guest)
    assert await held(desk) == ["parked"]
    return guest


async def held(desk: LoginDesk) -> list[str]:
    return [each.state.value for each in await desk.service.inbox.parked.overview()]


async def is_gone(desk: LoginDesk, guest: UUID) -> bool:
    keys = await desk.service.pool.fetchval("SELECT count(*) FROM data_keys")
    account = await find_account("acc-new", desk.service.deps)
    return (await desk.link(guest)).erased and account is None and keys == 0


async def test_i9_a_parked_guest_who_is_erased_comes_through_by_itself(desk: LoginDesk) -> None:
    guest = await parked_guest(desk)
    erased = desk.counter.erases(guest)
    await desk.service.inbox.receive(erased)
    assert await held(desk) == []
    assert await is_gone(desk, guest)


async def test_i9_while_the_feed_cannot_be_asked_the_erasure_waits_and_comes_through(desk: LoginDesk) -> None:
    guest = await parked_guest(desk)
    erased = desk.counter.erases(guest)
    desk.registration.unplugged = True
    await desk.service.inbox.receive(erased)
    assert await held(desk) == ["waiting"]
    assert not await is_gone(desk, guest)
    desk.registration.unplugged = False
    await eventually(desk.service.inbox.retry_waiting)
    assert await held(desk) == []
    assert await is_gone(desk, guest)


async def test_i9_two_histories_of_an_erased_guest_still_need_an_operator(desk: LoginDesk) -> None:
    guest = desk.counter.registers("kees", new("acc-new"))
    desk.counter.wants_new_account(guest, "acc-new", "kees")
    await desk.deliver_all(guest)
    await desk.service.inbox.receive(replace(desk.registration.messages[guest][0], id=uuid4()))
    assert await held(desk) == ["diverged"]
    await desk.service.inbox.receive(desk.counter.erases(guest))
    assert await held(desk) == ["diverged"]
    assert await desk.service.inbox.discard(guest, reason="een vergissing", by="beheer")
    assert await is_gone(desk, guest)
