"""The login, in the order of I4, and what it writes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from identity.application.dependencies import DirectoryUnavailable, RegistrationUnavailable
from identity.domain.errors import AccountNotFound, LinkRequired
from identity.domain.guest_link import Linked
from shared.messaging.errors import CannotApply
from tests.support.identity import (
    HOME_ISIL,
    HOME_ORGANISATION,
    InMemoryIdentity,
    account_details,
    existing,
    new,
    person,
)


@pytest.fixture
def in_memory_identity() -> InMemoryIdentity:
    return InMemoryIdentity(account_details("jan"), account_details("kind"))


async def test_i4_1_linked_is_recognised_as_the_accounts_one_actor(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    login = await in_memory_identity.logs_in("jan")
    account = await in_memory_identity.account("jan")
    assert (login.actor_id, login.new_actor, login.first_login) == (account.actor_id, False, True)
    assert login.guest is not None
    assert login.guest.guest_id == guest


async def test_i4_1_the_common_path_reads_one_stream_and_asks_nobody(
    in_memory_identity: InMemoryIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    await in_memory_identity.logs_in("jan")
    events, asked = (
        await in_memory_identity.topics(),
        (in_memory_identity.registration.asked, in_memory_identity.directory.asked),
    )
    reads: list[Any] = []
    stream = in_memory_identity.log.stream

    async def counted(*args: Any, **kwargs: Any) -> Any:
        reads.append(args)
        return await stream(*args, **kwargs)

    monkeypatch.setattr(in_memory_identity.log, "stream", counted)
    login = await in_memory_identity.logs_in("jan")
    assert (login.first_login, login.position, len(reads)) == (False, None, 1)
    assert (in_memory_identity.registration.asked, in_memory_identity.directory.asked) == asked
    assert await in_memory_identity.topics() == events


async def test_i4_2_an_actor_of_its_own_there_is_recognised_and_nobody_is_asked(
    in_memory_identity: InMemoryIdentity,
) -> None:
    first = await in_memory_identity.logs_in("jan")
    in_memory_identity.registration.unplugged = True
    second = await in_memory_identity.logs_in("jan")
    assert (first.new_actor, first.first_login) == (True, True)
    assert (second.new_actor, second.first_login) == (False, False)
    assert (second.actor_id, second.guest) == (first.actor_id, None)


async def test_i4_2_at_home_is_recognised_and_registration_is_not_asked(
    in_memory_identity: InMemoryIdentity,
) -> None:
    in_memory_identity.registration.unplugged = True
    login = await in_memory_identity.logs_in("jan", HOME_ORGANISATION)
    account = await in_memory_identity.account("jan")
    assert (login.actor_id, login.new_actor, login.guest) == (account.actor_id, False, None)
    assert login.first_login
    assert not (await in_memory_identity.logs_in("jan", HOME_ORGANISATION)).first_login


async def test_i4_2_i10_at_home_by_a_merger_is_recognised_and_never_a_new_actor(
    in_memory_identity: InMemoryIdentity,
) -> None:
    in_memory_identity.registration.own_libraries["3003"] = {HOME_ISIL}
    in_memory_identity.registration.index_is_behind = True
    with pytest.raises(RegistrationUnavailable):
        await in_memory_identity.logs_in("jan", "3003")
    in_memory_identity.registration.index_is_behind = False
    login = await in_memory_identity.logs_in("jan", "3003")
    account = await in_memory_identity.account("jan")
    assert (login.actor_id, login.new_actor, login.guest) == (account.actor_id, False, None)


async def test_i10_while_references_are_incomplete_a_login_is_tried_again(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", card_isil="NL-000001")
    in_memory_identity.registration.index_is_behind = True
    with pytest.raises(RegistrationUnavailable):
        await in_memory_identity.logs_in("jan")
    in_memory_identity.registration.index_is_behind = False
    in_memory_identity.registration.by_person["1001", person("jan")] = [guest]
    with pytest.raises(LinkRequired):
        await in_memory_identity.logs_in("jan")


async def test_i4_2_the_actor_at_home_does_not_answer_for_another_organisation(
    in_memory_identity: InMemoryIdentity,
) -> None:
    at_home = await in_memory_identity.logs_in("jan", HOME_ORGANISATION)
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    login = await in_memory_identity.logs_in("jan")
    assert login.guest is not None
    assert (login.guest.guest_id, login.actor_id) == (guest, at_home.actor_id)


async def test_i4_3_what_was_registered_but_not_delivered_is_applied_now(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    login = await in_memory_identity.logs_in("jan")
    assert (login.new_actor, login.first_login) == (False, True)
    assert login.guest is not None
    assert login.guest.guest_id == guest
    events = await in_memory_identity.topics()
    await in_memory_identity.deliver_all(guest)  # the queue comes later
    await in_memory_identity.deliver(in_memory_identity.registration.messages[guest][0])
    assert await in_memory_identity.topics() == events


async def test_i4_3_an_account_that_is_still_to_be_opened_is_opened_by_its_first_login(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("kees", new("acc-created"))
    in_memory_identity.counter.wants_new_account(guest, "acc-created", "kees")
    login = await in_memory_identity.logs_in("created")
    assert login.guest is not None
    assert login.guest.guest_id == guest


async def test_i4_3_another_persons_guest_with_this_account_is_recognised(
    in_memory_identity: InMemoryIdentity,
) -> None:
    child = in_memory_identity.counter.registers("kind", existing("jan"))
    login = await in_memory_identity.logs_in("jan")
    assert login.guest is not None
    assert login.guest.guest_id == child


async def test_i4_4_registered_without_a_link_is_sent_to_the_counter(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan")
    with pytest.raises(LinkRequired):
        await in_memory_identity.logs_in("jan")
    assert await in_memory_identity.topics() == ["identity.guest-noted"]
    assert (await in_memory_identity.link(guest)).answer is None


async def test_i4_4_registered_with_another_account_is_sent_to_the_counter(
    in_memory_identity: InMemoryIdentity,
) -> None:
    in_memory_identity.counter.registers("kind", existing("jan"))
    with pytest.raises(LinkRequired):
        await in_memory_identity.logs_in("kind")


async def test_i4_4_a_refused_link_is_sent_to_the_counter(in_memory_identity: InMemoryIdentity) -> None:
    in_memory_identity.counter.registers("een", new("acc-created"))  # erased since: refused as unknown
    with pytest.raises(LinkRequired):
        await in_memory_identity.logs_in("created")
    assert "identity.actor-opened" not in await in_memory_identity.topics()


async def test_i4_4_after_a_clerk_unlinked_the_account_a_link_is_required(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.logs_in("jan")
    in_memory_identity.counter.happens(guest, "login-account-unlinked.v1", reason="verkeerd")
    await in_memory_identity.deliver_all(guest)
    with pytest.raises(LinkRequired):
        await in_memory_identity.logs_in("jan")


async def test_i4_4_an_own_actor_there_still_answers_after_its_too_late_link_was_unlinked(
    in_memory_identity: InMemoryIdentity,
) -> None:
    first = await in_memory_identity.logs_in("jan")
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    in_memory_identity.counter.happens(guest, "login-account-unlinked.v1", reason="verkeerd")
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.logs_in("jan")).actor_id == first.actor_id


async def test_i4_4_a_deregistered_guest_is_no_registration_of_the_person(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan")
    in_memory_identity.counter.happens(guest, "guest-deregistered.v1", reason="vergissing")
    assert (await in_memory_identity.logs_in("jan")).new_actor


async def test_i4_5_an_unknown_account_is_said_only_after_asking(
    in_memory_identity: InMemoryIdentity,
) -> None:
    with pytest.raises(AccountNotFound):
        await in_memory_identity.logs_in("nobody")
    assert in_memory_identity.registration.asked > 0
    in_memory_identity.registration.unplugged = True
    with pytest.raises(RegistrationUnavailable):
        await in_memory_identity.logs_in("nobody")


async def test_i4_6_nobody_registered_there_is_a_new_actor(in_memory_identity: InMemoryIdentity) -> None:
    login = await in_memory_identity.logs_in("jan")
    account = await in_memory_identity.account("jan")
    assert (login.new_actor, login.first_login, login.guest) == (True, True, None)
    assert login.actor_id != account.actor_id
    assert account.own_actor_at("1001") == login.actor_id


async def test_i4_6_who_was_recognised_there_before_keeps_that_actor(
    in_memory_identity: InMemoryIdentity,
) -> None:
    """A parent's account was on a child's guest, used, and taken off: the parent is not split in two."""
    child = in_memory_identity.counter.registers("kind", existing("jan"))
    before = await in_memory_identity.logs_in("jan")
    in_memory_identity.counter.happens(child, "login-account-unlinked.v1", reason="account van een ouder")
    await in_memory_identity.deliver_all(child)
    after = await in_memory_identity.logs_in("jan")
    assert (after.actor_id, after.new_actor, after.first_login) == (before.actor_id, False, False)
    assert after.guest is None


@pytest.mark.parametrize("unplugged", ["registration", "directory"])
async def test_i4_who_cannot_be_asked_about_has_to_try_again_and_nothing_is_written(
    in_memory_identity: InMemoryIdentity, unplugged: str
) -> None:
    getattr(in_memory_identity, unplugged).unplugged = True
    with pytest.raises((RegistrationUnavailable, DirectoryUnavailable)):
        await in_memory_identity.logs_in("jan")
    assert await in_memory_identity.topics() == []


async def test_i4_what_cannot_be_applied_makes_nobody_a_new_actor(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan")
    in_memory_identity.counter.happens(guest, "term-confirmed.v1", end="the day after")
    with pytest.raises(CannotApply):
        await in_memory_identity.logs_in("jan")
    assert "identity.actor-opened" not in await in_memory_identity.topics()


async def test_i4_of_first_logins_at_once_one_is_the_first_and_all_get_its_actor(
    in_memory_identity: InMemoryIdentity,
) -> None:
    logins = await asyncio.gather(*(in_memory_identity.logs_in("jan") for _ in range(8)))
    assert len({login.actor_id for login in logins}) == 1
    assert sorted(login.first_login for login in logins) == [False] * 7 + [True]
    assert sorted(login.new_actor for login in logins) == [False] * 7 + [True]


async def test_i6_too_late_logins_go_on_as_the_actor_that_logged_in(
    in_memory_identity: InMemoryIdentity,
) -> None:
    first = await in_memory_identity.logs_in("jan")
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    login = await in_memory_identity.logs_in("jan")
    assert (login.actor_id, login.new_actor) == (first.actor_id, False)
    assert login.guest is not None
    assert (login.guest.guest_id, login.guest.too_late) == (guest, True)


async def test_i6_linking_again_after_a_recognised_login_is_not_too_late(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    login = await in_memory_identity.logs_in("jan")
    in_memory_identity.counter.happens(guest, "login-account-unlinked.v1", reason="verkeerd")
    in_memory_identity.counter.asks_link(guest, existing("jan"))
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer == Linked("acc-jan", login.actor_id, too_late=False)
