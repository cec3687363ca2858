"""What registration's messages do here (I2, I3, I7, I8), by the events that follow and what is published."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from identity.application.dependencies import DirectoryUnavailable, RegistrationUnavailable
from identity.domain.errors import RefusalReason
from identity.domain.guest_link import Linked, Refused
from identity.domain.guest_status import GuestStatus, Status
from tests.support.identity import ENDS_ON, House, account_details, existing, new


@pytest.fixture
def house() -> House:
    return House(account_details("jan"), account_details("piet"))


async def test_i2_an_existing_account_is_linked_to_its_actor(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    account = await house.account("jan")
    assert (await house.link(guest)).answer == Linked("acc-jan", account.actor_id, too_late=False)
    assert await house.topics() == [
        "identity.guest-noted",
        "identity.login-account-linked",
        "identity.actor-opened",
        "identity.login-account-opened",
        "identity.login-account-guest-linked",
    ]
    assert await house.published(guest) == [
        ("guest-noted.v1", {}),
        ("login-account-linked.v1", {"account_id": "acc-jan", "actor_id": str(account.actor_id)}),
    ]


async def test_i2_an_unknown_account_is_refused(house: House) -> None:
    guest = house.counter.registers("jan", existing("nobody"))
    await house.deliver_all(guest)
    assert (await house.link(guest)).answer == Refused("acc-nobody", RefusalReason.UNKNOWN_ACCOUNT)
    assert (await house.published(guest))[-1] == (
        "login-account-link-refused.v1",
        {"account_id": "acc-nobody", "reason": "unknown-account"},
    )


async def test_i2_a_new_account_is_opened_under_the_minted_id_and_linked(house: House) -> None:
    guest = house.counter.registers("kees", new("acc-minted"))
    house.counter.wants_new_account(guest, "acc-minted", "kees")
    await house.deliver_all(guest)
    account = await house.account("minted")
    assert (await house.link(guest)).answer == Linked("acc-minted", account.actor_id, too_late=False)


@pytest.mark.parametrize("taken", ["jan", "Jan ", "JAN"])
async def test_i2_a_new_account_whose_username_is_taken_in_the_directory_is_refused(
    house: House, taken: str
) -> None:
    guest = house.counter.registers("kees", new("acc-minted"))
    house.counter.wants_new_account(guest, "acc-minted", taken)
    await house.deliver_all(guest)
    assert (await house.link(guest)).answer == Refused("acc-minted", RefusalReason.USERNAME_TAKEN)
    assert not house.log.rows("usernames")


async def test_i2_a_username_that_cannot_be_one_is_refused(house: House) -> None:
    guest = house.counter.registers("kees", new("acc-minted"))
    house.counter.wants_new_account(guest, "acc-minted", " \t ")
    await house.deliver_all(guest)
    assert (await house.link(guest)).answer == Refused("acc-minted", RefusalReason.MALFORMED_USERNAME)


async def test_i2_of_two_new_accounts_with_one_username_the_second_is_refused(house: House) -> None:
    guests = [house.counter.registers(name, new(f"acc-{name}")) for name in ("een", "twee")]
    for guest, name in zip(guests, ("een", "twee"), strict=True):
        house.counter.wants_new_account(guest, f"acc-{name}", "same")
        await house.deliver_all(guest)
    answers = [(await house.link(guest)).answer for guest in guests]
    assert isinstance(answers[0], Linked)
    assert answers[1] == Refused("acc-twee", RefusalReason.USERNAME_TAKEN)


async def test_i2_a_new_account_that_was_erased_meanwhile_is_refused(house: House) -> None:
    guest = house.counter.registers("kees", new("acc-minted"))
    await house.deliver_all(guest)
    assert (await house.link(guest)).answer == Refused("acc-minted", RefusalReason.UNKNOWN_ACCOUNT)


async def test_i2_without_an_account_the_guest_is_remembered_as_unlinked(house: House) -> None:
    guest = house.counter.registers("jan")
    await house.deliver_all(guest)
    assert (await house.link(guest)).answer is None
    assert await house.published(guest) == [("guest-noted.v1", {})]


async def test_i3_the_same_pair_again_changes_nothing_but_is_answered(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    before = (await house.account("jan")).version
    house.counter.asks_link(guest, existing("jan"))
    await house.deliver_all(guest)
    assert (await house.account("jan")).version == before
    assert [kind for kind, _ in await house.published(guest)][1:] == ["login-account-linked.v1"] * 2


async def test_i3_an_account_of_another_guest_of_the_organisation_is_refused(house: House) -> None:
    first = house.counter.registers("jan", existing("jan"))
    child = house.counter.registers("kind", existing("jan"))
    for guest in (first, child):
        await house.deliver_all(guest)
    assert (await house.link(child)).answer == Refused("acc-jan", RefusalReason.ACCOUNT_IN_USE)
    assert isinstance((await house.link(first)).answer, Linked)


async def test_i3_an_account_may_have_a_guest_at_each_organisation(house: House) -> None:
    for organisation in ("1001", "3003"):
        guest = house.counter.registers("jan", existing("jan"), organisation)
        await house.deliver_all(guest)
        assert isinstance((await house.link(guest)).answer, Linked)


@pytest.mark.parametrize("kind", ["login-account-unlinked.v1", "guest-deregistered.v1"])
async def test_i3_unlinking_frees_both(house: House, kind: str) -> None:
    guest = house.counter.registers("kind", existing("jan"))
    house.counter.happens(guest, kind, reason="account van een ouder")
    await house.deliver_all(guest)
    assert (await house.link(guest)).answer is None
    assert ("login-account-released.v1", {}) in await house.published(guest)

    other = house.counter.registers("jan", existing("jan"))
    house.counter.asks_link(guest, existing("piet"))
    for each in (other, guest):
        await house.deliver_all(each)
        assert isinstance((await house.link(each)).answer, Linked)


async def test_i3_a_refusal_can_be_asked_again_and_gets_a_new_answer(house: House) -> None:
    guest = house.counter.registers("kees", existing("kees"))
    await house.deliver_all(guest)
    house.directory.accounts.append(account_details("kees"))
    house.counter.asks_link(guest, existing("kees"))
    await house.deliver_all(guest)
    assert [kind for kind, _ in await house.published(guest)] == [
        "guest-noted.v1",
        "login-account-link-refused.v1",
        "login-account-linked.v1",
    ]


@pytest.mark.parametrize(("second", "answer"), [("piet", Linked), ("nobody", Refused)])
async def test_i3_asking_for_another_account_lets_go_of_the_former(
    house: House, second: str, answer: type
) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    house.counter.asks_link(guest, existing(second))
    await house.deliver_all(guest)
    assert isinstance((await house.link(guest)).answer, answer)
    assert (await house.link(guest)).concerns(f"acc-{second}")
    assert (await house.account("jan")).guests == {}


async def test_i6_a_link_after_a_first_login_that_made_an_actor_is_too_late(house: House) -> None:
    login = await house.logs_in("jan")
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    assert (await house.link(guest)).answer == Linked("acc-jan", login.actor_id, too_late=True)
    assert (await house.published(guest))[-1] == (
        "login-account-linked-too-late.v1",
        {"account_id": "acc-jan", "actor_id": str(login.actor_id)},
    )


REREGISTERED: dict[str, Any] = {"term": {"begin": "2025-09-15", "end": "2025-12-15"}, "login_account": None}
LATER = date(2025, 12, 15)


@pytest.mark.parametrize(
    ("told", "guest_status"),
    [
        ([], GuestStatus(Status.VALID, ENDS_ON)),
        ([("term-confirmed.v1", {"end": "2026-03-01"})], GuestStatus(Status.VALID, date(2026, 3, 1))),
        ([("term-confirmed.v1", {"end": None})], GuestStatus(Status.VALID, None)),
        (
            [("subscription-expired.v1", {"on": "2025-09-11", "reason": "overig"})],
            GuestStatus(Status.EXPIRED, ENDS_ON),
        ),
        ([("guest-suspended.v1", {"reason": "fines"})], GuestStatus(Status.SUSPENDED, ENDS_ON)),
        (
            [("guest-suspended.v1", {"reason": "fines"}), ("guest-reinstated.v1", {})],
            GuestStatus(Status.VALID, ENDS_ON),
        ),
        (
            [
                ("subscription-expired.v1", {"on": "2025-09-11", "reason": "overig"}),
                ("guest-reregistered.v1", REREGISTERED),
            ],
            GuestStatus(Status.VALID, LATER),
        ),
    ],
)
async def test_i7_what_happens_to_the_guest_changes_what_recognised_reports_and_the_link_stays(
    house: House, told: list[tuple[str, dict[str, Any]]], guest_status: GuestStatus
) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    for kind, data in told:
        house.counter.happens(guest, kind, **data)
    await house.deliver_all(guest)
    login = await house.logs_in("jan")
    assert login.guest is not None
    assert (login.guest.guest_id, login.guest.guest_status) == (guest, guest_status)


async def test_i7_a_reregistration_may_come_with_another_account(house: House) -> None:
    guest = house.counter.registers("jan")
    house.counter.happens(guest, "subscription-expired.v1", on="2025-09-11", reason="overig")
    house.counter.happens(
        guest, "guest-reregistered.v1", **{**REREGISTERED, "login_account": existing("jan")}
    )
    await house.deliver_all(guest)
    linked = (await house.account("jan")).guests[guest]
    assert linked.guest_status == GuestStatus(Status.VALID, LATER)


async def test_i7_a_card_registered_afresh_is_the_same_guest(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    house.counter.happens(guest, "guest-deregistered.v1", reason="vergissing")
    house.counter.registers_afresh(guest, existing("jan"))
    await house.deliver_all(guest)
    assert (await house.link(guest)).registered
    assert (await house.logs_in("jan")).guest is not None


@pytest.mark.parametrize("kind", ["lending-strips-granted.v1", "something-of-tomorrow.v9"])
async def test_i8_what_means_nothing_here_moves_the_inbox_only(house: House, kind: str) -> None:
    guest = house.counter.registers("jan")
    await house.deliver_all(guest)
    events = len(await house.topics())
    house.counter.happens(guest, kind, whatever=1)
    await house.deliver_all(guest)
    assert (len(await house.topics()), house.version_of(guest)) == (events, 2)


async def test_i8_a_message_twice_has_one_effect(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    message = house.registration.messages[guest][0]
    await house.deliver(message)
    events = await house.topics()
    await house.deliver(message)
    assert await house.topics() == events


async def test_i8_an_erased_message_applies_without_effect(house: House) -> None:
    from dataclasses import replace

    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver(replace(house.registration.messages[guest][0], data={}, erased=True))
    assert (await house.topics(), house.version_of(guest)) == ([], 1)


async def test_i8_a_directory_that_is_down_leaves_nothing_behind(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    house.directory.unplugged = True
    with pytest.raises(DirectoryUnavailable):
        await house.deliver(house.registration.messages[guest][0])
    assert (await house.topics(), house.version_of(guest)) == ([], 0)


async def test_i8_a_registration_that_is_down_leaves_nothing_behind(house: House) -> None:
    guest = house.counter.registers("kees", new("acc-minted"))
    house.registration.unplugged = True
    with pytest.raises(RegistrationUnavailable):
        await house.deliver(house.registration.messages[guest][0])
    assert (await house.topics(), house.version_of(guest)) == ([], 0)
