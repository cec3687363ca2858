"""The login, in the order of I4, and what it writes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from identity.application.dependencies import DirectoryUnavailable, RegistrationUnavailable
from identity.domain.errors import AccountNotFound, LinkRequired
from identity.domain.guest_link import Linked
from shared.messaging.errors import CannotApply
from tests.support.identity import HOME_ORGANISATION, House, account_details, existing, new


@pytest.fixture
def house() -> House:
    return House(account_details("jan"), account_details("kind"))


async def test_i4_1_linked_is_recognised_as_the_accounts_one_actor(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    login = await house.logs_in("jan")
    account = await house.account("jan")
    assert (login.actor_id, login.new_actor, login.first_login) == (account.actor_id, False, True)
    assert login.guest is not None
    assert login.guest.guest_id == guest


async def test_i4_1_the_common_path_reads_one_stream_and_asks_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    await house.logs_in("jan")
    events, asked = await house.topics(), (house.registration.asked, house.directory.asked)
    reads: list[Any] = []
    stream = house.log.stream

    async def counted(*args: Any, **kwargs: Any) -> Any:
        reads.append(args)
        return await stream(*args, **kwargs)

    monkeypatch.setattr(house.log, "stream", counted)
    login = await house.logs_in("jan")
    assert (login.first_login, login.position, len(reads)) == (False, None, 1)
    assert (house.registration.asked, house.directory.asked) == asked
    assert await house.topics() == events


async def test_i4_2_an_actor_of_its_own_there_is_recognised_and_nobody_is_asked(house: House) -> None:
    first = await house.logs_in("jan")
    house.registration.unplugged = True
    second = await house.logs_in("jan")
    assert (first.new_actor, first.first_login) == (True, True)
    assert (second.new_actor, second.first_login) == (False, False)
    assert (second.actor_id, second.guest) == (first.actor_id, None)


async def test_i4_2_at_home_is_recognised_and_registration_is_not_asked(house: House) -> None:
    house.registration.unplugged = True
    login = await house.logs_in("jan", HOME_ORGANISATION)
    account = await house.account("jan")
    assert (login.actor_id, login.new_actor, login.guest) == (account.actor_id, False, None)
    assert login.first_login
    assert not (await house.logs_in("jan", HOME_ORGANISATION)).first_login


async def test_i4_2_the_actor_at_home_does_not_answer_for_another_organisation(house: House) -> None:
    at_home = await house.logs_in("jan", HOME_ORGANISATION)
    guest = house.counter.registers("jan", existing("jan"))
    login = await house.logs_in("jan")
    assert login.guest is not None
    assert (login.guest.guest_id, login.actor_id) == (guest, at_home.actor_id)


async def test_i4_3_what_was_registered_but_not_delivered_is_applied_now(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    login = await house.logs_in("jan")
    assert (login.new_actor, login.first_login) == (False, True)
    assert login.guest is not None
    assert login.guest.guest_id == guest
    events = await house.topics()
    await house.deliver_all(guest)  # the queue comes later
    await house.deliver(house.registration.messages[guest][0])
    assert await house.topics() == events


async def test_i4_3_an_account_that_is_still_to_be_opened_is_opened_by_its_first_login(house: House) -> None:
    guest = house.counter.registers("kees", new("acc-minted"))
    house.counter.wants_new_account(guest, "acc-minted", "kees")
    login = await house.logs_in("minted")
    assert login.guest is not None
    assert login.guest.guest_id == guest


async def test_i4_3_another_persons_guest_with_this_account_is_recognised(house: House) -> None:
    child = house.counter.registers("kind", existing("jan"))
    login = await house.logs_in("jan")
    assert login.guest is not None
    assert login.guest.guest_id == child


async def test_i4_4_registered_without_a_link_is_sent_to_the_counter(house: House) -> None:
    guest = house.counter.registers("jan")
    with pytest.raises(LinkRequired):
        await house.logs_in("jan")
    assert await house.topics() == ["identity.guest-noted"]
    assert (await house.link(guest)).answer is None


async def test_i4_4_registered_with_another_account_is_sent_to_the_counter(house: House) -> None:
    house.counter.registers("kind", existing("jan"))
    with pytest.raises(LinkRequired):
        await house.logs_in("kind")


async def test_i4_4_a_refused_link_is_sent_to_the_counter(house: House) -> None:
    house.counter.registers("een", new("acc-minted"))  # erased since: refused as unknown
    with pytest.raises(LinkRequired):
        await house.logs_in("minted")
    assert "identity.actor-opened" not in await house.topics()


async def test_i4_4_after_a_clerk_unlinked_the_account_a_link_is_required(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    await house.logs_in("jan")
    house.counter.happens(guest, "login-account-unlinked.v1", reason="verkeerd")
    await house.deliver_all(guest)
    with pytest.raises(LinkRequired):
        await house.logs_in("jan")


async def test_i4_4_an_own_actor_there_still_answers_after_its_too_late_link_was_unlinked(
    house: House,
) -> None:
    first = await house.logs_in("jan")
    guest = house.counter.registers("jan", existing("jan"))
    house.counter.happens(guest, "login-account-unlinked.v1", reason="verkeerd")
    await house.deliver_all(guest)
    assert (await house.logs_in("jan")).actor_id == first.actor_id


async def test_i4_4_a_deregistered_guest_is_no_registration_of_the_person(house: House) -> None:
    guest = house.counter.registers("jan")
    house.counter.happens(guest, "guest-deregistered.v1", reason="vergissing")
    assert (await house.logs_in("jan")).new_actor


async def test_i4_5_an_unknown_account_is_said_only_after_asking(house: House) -> None:
    with pytest.raises(AccountNotFound):
        await house.logs_in("nobody")
    assert house.registration.asked > 0
    house.registration.unplugged = True
    with pytest.raises(RegistrationUnavailable):
        await house.logs_in("nobody")


async def test_i4_6_nobody_registered_there_is_a_new_actor(house: House) -> None:
    login = await house.logs_in("jan")
    account = await house.account("jan")
    assert (login.new_actor, login.first_login, login.guest) == (True, True, None)
    assert login.actor_id != account.actor_id
    assert account.own_actor_at("1001") == login.actor_id


async def test_i4_6_who_was_recognised_there_before_keeps_that_actor(house: House) -> None:
    """A parent's account was on a child's guest, used, and taken off: the parent is not split in two."""
    child = house.counter.registers("kind", existing("jan"))
    before = await house.logs_in("jan")
    house.counter.happens(child, "login-account-unlinked.v1", reason="account van een ouder")
    await house.deliver_all(child)
    after = await house.logs_in("jan")
    assert (after.actor_id, after.new_actor, after.first_login) == (before.actor_id, False, False)
    assert after.guest is None


@pytest.mark.parametrize("unplugged", ["registration", "directory"])
async def test_i4_who_cannot_be_asked_about_has_to_try_again_and_nothing_is_written(
    house: House, unplugged: str
) -> None:
    getattr(house, unplugged).unplugged = True
    with pytest.raises((RegistrationUnavailable, DirectoryUnavailable)):
        await house.logs_in("jan")
    assert await house.topics() == []


async def test_i4_what_cannot_be_applied_makes_nobody_a_new_actor(house: House) -> None:
    guest = house.counter.registers("jan")
    house.counter.happens(guest, "term-confirmed.v1", end="the day after")
    with pytest.raises(CannotApply):
        await house.logs_in("jan")
    assert "identity.actor-opened" not in await house.topics()


async def test_i4_of_first_logins_at_once_one_is_the_first_and_all_get_its_actor(house: House) -> None:
    logins = await asyncio.gather(*(house.logs_in("jan") for _ in range(8)))
    assert len({login.actor_id for login in logins}) == 1
    assert sorted(login.first_login for login in logins) == [False] * 7 + [True]
    assert sorted(login.new_actor for login in logins) == [False] * 7 + [True]


async def test_i6_too_late_logins_go_on_as_the_actor_that_logged_in(house: House) -> None:
    first = await house.logs_in("jan")
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    login = await house.logs_in("jan")
    assert (login.actor_id, login.new_actor) == (first.actor_id, False)
    assert login.guest is not None
    assert (login.guest.guest_id, login.guest.too_late) == (guest, True)


async def test_i6_linking_again_after_a_recognised_login_is_not_too_late(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    login = await house.logs_in("jan")
    house.counter.happens(guest, "login-account-unlinked.v1", reason="verkeerd")
    house.counter.asks_link(guest, existing("jan"))
    await house.deliver_all(guest)
    assert (await house.link(guest)).answer == Linked("acc-jan", login.actor_id, too_late=False)
