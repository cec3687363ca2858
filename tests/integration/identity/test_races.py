"""What happens at once, in a real database: one actor, one link, one effect (I4, I5, I6, I8)."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

from identity.application.dependencies import Context
from identity.application.log_in import LoggedIn, LogIn, log_in
from identity.domain.guest_link import Linked
from shared.messaging.envelope import Message
from tests.support.eventually import eventually
from tests.support.identity import WISECAT, account_details, existing, new
from tests.support.identity_service import IdentityApp

ROUNDS = 15


async def logs_in(identity_app: IdentityApp, name: str) -> LoggedIn:
    return await log_in(
        LogIn(f"acc-{name}", "1001"),
        Context(WISECAT),
        identity_app.service.deps,
        identity_app.service.inbox.apply_now,
    )


def known(identity_app: IdentityApp, *names: str) -> None:
    identity_app.directory.accounts += [account_details(name) for name in names]


async def all_of(*work: Awaitable[Any]) -> list[Any]:
    return list(await asyncio.gather(*work))


async def test_i4_two_first_logins_at_once_give_one_actor(identity_app: IdentityApp) -> None:
    for number in range(ROUNDS):
        known(identity_app, f"twee{number}")
        logins = await all_of(*(logs_in(identity_app, f"twee{number}") for _ in range(4)))
        assert len({login.actor_id for login in logins}) == 1
        assert sorted(login.first_login for login in logins) == [False, False, False, True]
    assert (await identity_app.topics()).count("identity.actor-opened") == 2 * ROUNDS


async def test_i6_a_login_and_a_link_at_once_give_one_actor(identity_app: IdentityApp) -> None:
    """The login asks just before the registration is committed; its link arrives while it decides."""
    too_late = 0
    for number in range(ROUNDS):
        name = f"samen{number}"
        known(identity_app, name)

        async def register(name: str = name, turns: int = number) -> UUID:
            for _ in range(turns):
                await asyncio.sleep(0.001)
            guest = identity_app.counter.registers(name, existing(name))
            await identity_app.deliver_all(guest)
            return guest

        login, guest = await all_of(logs_in(identity_app, name), register())
        answer = (await identity_app.link(guest)).answer
        assert answer == Linked(f"acc-{name}", login.actor_id, too_late=login.new_actor)
        assert (await logs_in(identity_app, name)).actor_id == login.actor_id
        too_late += login.new_actor
    assert (await identity_app.topics()).count("identity.actor-opened") == ROUNDS + too_late


async def test_i5_the_barrier_and_the_queue_bring_the_same_message_at_once(identity_app: IdentityApp) -> None:
    for number in range(ROUNDS):
        name = f"beide{number}"
        known(identity_app, name)
        guest = identity_app.counter.registers(name, existing(name))
        before = len(await identity_app.topics())
        login, *_ = await all_of(
            logs_in(identity_app, name),
            identity_app.deliver_all(guest),
            identity_app.deliver_all(guest),
            logs_in(identity_app, name),
        )
        assert login.guest is not None
        assert login.guest.guest_id == guest
        assert sorted((await identity_app.topics())[before:]) == [
            "identity.actor-opened",
            "identity.guest-noted",
            "identity.login-account-first-login-recorded",
            "identity.login-account-guest-linked",
            "identity.login-account-linked",
            "identity.login-account-opened",
        ]


async def test_i3_two_guests_ask_for_one_account_at_once_and_one_gets_it(identity_app: IdentityApp) -> None:
    for number in range(ROUNDS):
        name = f"een{number}"
        known(identity_app, name)
        guests = [identity_app.counter.registers(who, existing(name)) for who in (name, f"kind{number}")]
        await all_of(*(identity_app.deliver_all(guest) for guest in guests))
        answers = [(await identity_app.link(guest)).answer for guest in guests]
        assert sorted(type(answer).__name__ for answer in answers) == ["Linked", "Refused"]


async def test_i2_two_new_accounts_want_one_username_at_once_and_one_gets_it(
    identity_app: IdentityApp,
) -> None:
    for number in range(ROUNDS):
        guests = []
        for who in ("a", "b"):
            guest = identity_app.counter.registers(f"{who}{number}", new(f"acc-{who}{number}"))
            identity_app.counter.wants_new_account(guest, f"acc-{who}{number}", f"naam{number}")
            guests.append(guest)
        await all_of(*(identity_app.deliver_all(guest) for guest in guests))
        answers = [(await identity_app.link(guest)).answer for guest in guests]
        assert sorted(type(answer).__name__ for answer in answers) == ["Linked", "Refused"]


def history(identity_app: IdentityApp, guest: UUID) -> list[Message]:
    """A guest with a history of every kind."""
    identity_app.counter.happens(guest, "lending-strips-granted.v1")
    identity_app.counter.happens(guest, "subscription-expired.v1", on="2025-09-11", reason="overig")
    identity_app.counter.happens(
        guest,
        "guest-reregistered.v1",
        term={"begin": "2025-09-15", "end": "2025-12-15", "provisional": True},
        login_account=existing("jan"),
    )
    identity_app.counter.happens(guest, "guest-suspended.v1", reason="fines")
    return identity_app.registration.messages[guest]


async def test_i8_reversed_doubled_with_one_missing_or_the_last_lost_each_has_one_effect_in_order(
    identity_app: IdentityApp,
) -> None:
    orders = {
        "reversed": [4, 3, 2, 1, 0],
        "doubled": [0, 0, 1, 2, 2, 3, 3, 4, 4, 1],
        "one missing": [0, 1, 3, 4],
        "the last lost": [0, 1, 2, 3],
    }
    published: list[list[str]] = []
    for number, order in enumerate(orders.values()):
        guest = identity_app.counter.registers("jan", organisation=f"10{number}")
        messages = history(identity_app, guest)
        for index in order:
            await identity_app.service.inbox.receive(messages[index])
        page = await identity_app.service.registration_feed.after(0, limit=500, wait=0)  # the feed poller
        for message in page.messages:
            await identity_app.service.inbox.receive(message)
        feed = await identity_app.service.own_feed.of_subject(guest, after_version=0)
        published.append([message.type for message in feed])
        assert [message.stream_version for message in feed] == [1, 2, 3, 4, 5]
    assert published == [
        [
            "guest-noted.v1",
            "guest-standing-changed.v1",
            "guest-standing-changed.v1",
            "login-account-linked.v1",
            "guest-standing-changed.v1",
        ]
    ] * len(orders)


async def test_i8_a_gap_that_cannot_be_asked_about_waits_and_is_processed_then(
    identity_app: IdentityApp,
) -> None:
    guest = identity_app.counter.registers("jan", existing("jan"))
    messages = history(identity_app, guest)
    identity_app.registration.unplugged = True
    await identity_app.service.inbox.receive(messages[2])
    assert [parked.state for parked in await identity_app.service.inbox.parked.overview()] == ["waiting"]
    identity_app.registration.unplugged = False
    await eventually(identity_app.service.inbox.retry_waiting)
    assert isinstance((await identity_app.link(guest)).answer, Linked)
    assert await identity_app.service.inbox.parked.overview() == []
