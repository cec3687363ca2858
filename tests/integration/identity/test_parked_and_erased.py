"""A guest who is parked, and erased meanwhile: nothing waits for an operator (R19, I9)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

from identity.application.repository import find_account
from tests.support.eventually import eventually
from tests.support.identity import new
from tests.support.identity_service import IdentityApp


async def parked_guest(identity_app: IdentityApp) -> UUID:
    """A guest with an account of its own, and a message that cannot be handled."""
    guest = identity_app.counter.registers("kees", new("acc-new"))
    identity_app.counter.wants_new_account(guest, "acc-new", "kees")
    identity_app.counter.happens(guest, "term-confirmed.v1")  # without its data
    await identity_app.deliver_all(guest)
    assert await parked_states(identity_app) == ["parked"]
    return guest


async def parked_states(identity_app: IdentityApp) -> list[str]:
    return [each.state.value for each in await identity_app.service.inbox.parked.overview()]


async def is_gone(identity_app: IdentityApp, guest: UUID) -> bool:
    keys = await identity_app.service.pool.fetchval("SELECT count(*) FROM data_keys")
    account = await find_account("acc-new", identity_app.service.deps)
    return (await identity_app.link(guest)).erased and account is None and keys == 0


async def test_i9_a_parked_guest_who_is_erased_is_processed_by_itself(identity_app: IdentityApp) -> None:
    guest = await parked_guest(identity_app)
    erased = identity_app.counter.erases(guest)
    await identity_app.service.inbox.receive(erased)
    assert await parked_states(identity_app) == []
    assert await is_gone(identity_app, guest)


async def test_i9_while_the_feed_cannot_be_asked_the_erasure_waits_and_is_processed_then(
    identity_app: IdentityApp,
) -> None:
    guest = await parked_guest(identity_app)
    erased = identity_app.counter.erases(guest)
    identity_app.registration.unplugged = True
    await identity_app.service.inbox.receive(erased)
    assert await parked_states(identity_app) == ["waiting"]
    assert not await is_gone(identity_app, guest)
    identity_app.registration.unplugged = False
    await eventually(identity_app.service.inbox.retry_waiting)
    assert await parked_states(identity_app) == []
    assert await is_gone(identity_app, guest)


async def test_i9_two_histories_of_an_erased_guest_still_need_an_operator(identity_app: IdentityApp) -> None:
    guest = identity_app.counter.registers("kees", new("acc-new"))
    identity_app.counter.wants_new_account(guest, "acc-new", "kees")
    await identity_app.deliver_all(guest)
    await identity_app.service.inbox.receive(
        replace(identity_app.registration.messages[guest][0], id=uuid4(), data={"another": "history"})
    )
    assert await parked_states(identity_app) == ["diverged"]
    await identity_app.service.inbox.receive(identity_app.counter.erases(guest))
    assert await parked_states(identity_app) == ["diverged"]
    assert await identity_app.service.inbox.discard(guest, reason="een vergissing", by="beheer")
    assert await is_gone(identity_app, guest)
