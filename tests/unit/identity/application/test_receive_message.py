"""What registration's messages do here (I2, I3, I7, I8), by the events that follow and what is published."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from identity.application.dependencies import DirectoryUnavailable, NewAccount, RegistrationUnavailable
from identity.domain.errors import RefusalReason
from identity.domain.guest_link import Linked, Refused
from identity.domain.guest_status import GuestStatus, Status
from tests.support.identity import ENDS_ON, HOME_ISIL, InMemoryIdentity, account_details, existing, new


@pytest.fixture
def in_memory_identity() -> InMemoryIdentity:
    return InMemoryIdentity(account_details("jan"), account_details("piet"))


async def test_i2_an_existing_account_is_linked_to_its_actor(in_memory_identity: InMemoryIdentity) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    account = await in_memory_identity.account("jan")
    assert (await in_memory_identity.link(guest)).answer == Linked(
        "acc-jan", account.actor_id, too_late=False
    )
    assert await in_memory_identity.topics() == [
        "identity.guest-noted",
        "identity.login-account-linked",
        "identity.actor-opened",
        "identity.login-account-opened",
        "identity.login-account-guest-linked",
    ]
    assert await in_memory_identity.published(guest) == [
        ("guest-noted.v1", {}),
        ("login-account-linked.v1", {"account_id": "acc-jan", "actor_id": str(account.actor_id)}),
    ]


async def test_i2_an_unknown_account_is_refused(in_memory_identity: InMemoryIdentity) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("nobody"))
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer == Refused(
        "acc-nobody", RefusalReason.UNKNOWN_ACCOUNT
    )
    assert (await in_memory_identity.published(guest))[-1] == (
        "login-account-link-refused.v1",
        {"account_id": "acc-nobody", "reason": "unknown-account"},
    )


async def test_i2_an_account_of_another_home_library_is_refused(
    in_memory_identity: InMemoryIdentity,
) -> None:
    """Registration compared it before: this is the second wall."""
    guest = in_memory_identity.counter.registers("kind", existing("jan"), home_isil="NL-083424")
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer == Refused(
        "acc-jan", RefusalReason.OTHER_HOME_LIBRARY
    )
    assert (await in_memory_identity.published(guest))[-1] == (
        "login-account-link-refused.v1",
        {"account_id": "acc-jan", "reason": "other-home-library"},
    )
    in_memory_identity.counter.asks_link(guest, existing("piet"))
    in_memory_identity.registration.home_libraries[guest] = HOME_ISIL  # it merged into the account's library
    await in_memory_identity.deliver_all(guest)
    assert isinstance((await in_memory_identity.link(guest)).answer, Linked)


async def test_i2_an_account_on_another_card_of_the_same_library_is_linked(
    in_memory_identity: InMemoryIdentity,
) -> None:
    """A parent's account on a child, with a reason that registration keeps."""
    guest = in_memory_identity.counter.registers("kind", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    assert isinstance((await in_memory_identity.link(guest)).answer, Linked)


async def test_i2_i3_only_a_new_link_to_another_card_asks_registration(
    in_memory_identity: InMemoryIdentity,
) -> None:
    mine = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(mine)
    assert in_memory_identity.registration.asked == 0
    child = in_memory_identity.counter.registers("kind", existing("piet"))
    await in_memory_identity.deliver_all(child)
    assert in_memory_identity.registration.asked == 1
    in_memory_identity.registration.home_libraries[child] = "NL-083424"
    await in_memory_identity.deliver(in_memory_identity.counter.asks_link(child, existing("piet")))
    assert isinstance((await in_memory_identity.link(child)).answer, Linked)
    assert in_memory_identity.registration.asked == 1


async def test_i2_i8_a_link_to_another_card_waits_for_registration(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("kind", existing("jan"))
    in_memory_identity.registration.unplugged = True
    with pytest.raises(RegistrationUnavailable):
        await in_memory_identity.deliver(in_memory_identity.registration.messages[guest][0])
    assert (await in_memory_identity.topics(), in_memory_identity.version_of(guest)) == ([], 0)


async def test_i2_a_new_account_is_opened_under_the_created_id_and_linked(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("kees", new("acc-created"))
    in_memory_identity.counter.wants_new_account(guest, "acc-created", "kees")
    await in_memory_identity.deliver_all(guest)
    account = await in_memory_identity.account("created")
    assert (await in_memory_identity.link(guest)).answer == Linked(
        "acc-created", account.actor_id, too_late=False
    )


@pytest.mark.parametrize("taken", ["jan", "Jan ", "JAN"])
async def test_i2_a_new_account_whose_username_is_taken_in_the_directory_is_refused(
    in_memory_identity: InMemoryIdentity, taken: str
) -> None:
    guest = in_memory_identity.counter.registers("kees", new("acc-created"))
    in_memory_identity.counter.wants_new_account(guest, "acc-created", taken)
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer == Refused(
        "acc-created", RefusalReason.USERNAME_TAKEN
    )
    assert not in_memory_identity.log.rows("usernames")


async def test_i10_a_username_is_taken_at_all_libraries_that_are_one(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("kees", new("acc-created"))
    wanted = NewAccount("acc-created", "jan", "kees@example.org", "NL-000002", (HOME_ISIL,))
    in_memory_identity.registration.new_accounts[guest, "acc-created"] = wanted
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer == Refused(
        "acc-created", RefusalReason.USERNAME_TAKEN
    )


async def test_i2_a_username_that_cannot_be_one_is_refused(in_memory_identity: InMemoryIdentity) -> None:
    guest = in_memory_identity.counter.registers("kees", new("acc-created"))
    in_memory_identity.counter.wants_new_account(guest, "acc-created", " \t ")
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer == Refused(
        "acc-created", RefusalReason.MALFORMED_USERNAME
    )


async def test_i2_of_two_new_accounts_with_one_username_the_second_is_refused(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guests = [in_memory_identity.counter.registers(name, new(f"acc-{name}")) for name in ("een", "twee")]
    for guest, name in zip(guests, ("een", "twee"), strict=True):
        in_memory_identity.counter.wants_new_account(guest, f"acc-{name}", "same")
        await in_memory_identity.deliver_all(guest)
    answers = [(await in_memory_identity.link(guest)).answer for guest in guests]
    assert isinstance(answers[0], Linked)
    assert answers[1] == Refused("acc-twee", RefusalReason.USERNAME_TAKEN)


async def test_i2_a_new_account_that_was_erased_meanwhile_is_refused(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("kees", new("acc-created"))
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer == Refused(
        "acc-created", RefusalReason.UNKNOWN_ACCOUNT
    )


async def test_i2_without_an_account_the_guest_is_remembered_as_unlinked(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan")
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer is None
    assert await in_memory_identity.published(guest) == [("guest-noted.v1", {})]


async def test_i3_the_same_pair_again_changes_nothing_but_is_answered(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    before = (await in_memory_identity.account("jan")).version
    in_memory_identity.counter.asks_link(guest, existing("jan"))
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.account("jan")).version == before
    assert [kind for kind, _ in await in_memory_identity.published(guest)][1:] == [
        "login-account-linked.v1"
    ] * 2


async def test_i3_an_account_of_another_guest_of_the_organisation_is_refused(
    in_memory_identity: InMemoryIdentity,
) -> None:
    first = in_memory_identity.counter.registers("jan", existing("jan"))
    child = in_memory_identity.counter.registers("kind", existing("jan"))
    for guest in (first, child):
        await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(child)).answer == Refused("acc-jan", RefusalReason.ACCOUNT_IN_USE)
    assert isinstance((await in_memory_identity.link(first)).answer, Linked)


async def test_i3_an_account_may_have_a_guest_at_each_organisation(
    in_memory_identity: InMemoryIdentity,
) -> None:
    for organisation in ("1001", "3003"):
        guest = in_memory_identity.counter.registers("jan", existing("jan"), organisation)
        await in_memory_identity.deliver_all(guest)
        assert isinstance((await in_memory_identity.link(guest)).answer, Linked)


@pytest.mark.parametrize("kind", ["login-account-unlinked.v1", "guest-deregistered.v1"])
async def test_i3_unlinking_frees_both(in_memory_identity: InMemoryIdentity, kind: str) -> None:
    guest = in_memory_identity.counter.registers("kind", existing("jan"))
    in_memory_identity.counter.happens(guest, kind, reason="account van een ouder")
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer is None
    assert ("login-account-released.v1", {}) in await in_memory_identity.published(guest)

    other = in_memory_identity.counter.registers("jan", existing("jan"))
    in_memory_identity.counter.asks_link(guest, existing("piet"))
    for each in (other, guest):
        await in_memory_identity.deliver_all(each)
        assert isinstance((await in_memory_identity.link(each)).answer, Linked)


async def test_i3_a_refusal_can_be_asked_again_and_gets_a_new_answer(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("kees", existing("kees"))
    await in_memory_identity.deliver_all(guest)
    in_memory_identity.directory.accounts.append(account_details("kees"))
    in_memory_identity.counter.asks_link(guest, existing("kees"))
    await in_memory_identity.deliver_all(guest)
    assert [kind for kind, _ in await in_memory_identity.published(guest)] == [
        "guest-noted.v1",
        "login-account-link-refused.v1",
        "login-account-linked.v1",
    ]


@pytest.mark.parametrize(("second", "answer"), [("piet", Linked), ("nobody", Refused)])
async def test_i3_asking_for_another_account_releases_the_former(
    in_memory_identity: InMemoryIdentity, second: str, answer: type
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    in_memory_identity.counter.asks_link(guest, existing(second))
    await in_memory_identity.deliver_all(guest)
    assert isinstance((await in_memory_identity.link(guest)).answer, answer)
    assert (await in_memory_identity.link(guest)).concerns(f"acc-{second}")
    assert (await in_memory_identity.account("jan")).guests == {}


async def test_i6_a_link_after_a_first_login_that_made_an_actor_is_too_late(
    in_memory_identity: InMemoryIdentity,
) -> None:
    login = await in_memory_identity.logs_in("jan")
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).answer == Linked("acc-jan", login.actor_id, too_late=True)
    assert (await in_memory_identity.published(guest))[-1] == (
        "login-account-linked-too-late.v1",
        {"account_id": "acc-jan", "actor_id": str(login.actor_id)},
    )


REREGISTERED: dict[str, Any] = {"term": {"begin": "2025-09-15", "end": "2025-12-15"}, "login_account": None}
LATER = date(2025, 12, 15)


@pytest.mark.parametrize(
    ("published", "guest_status"),
    [
        ([], GuestStatus(Status.VALID, ENDS_ON)),
        ([("term-confirmed.v1", {"end": "2026-03-01"})], GuestStatus(Status.VALID, date(2026, 3, 1))),
        ([("term-confirmed.v1", {"end": None})], GuestStatus(Status.VALID, None)),
        (
            [("subscription-expired.v1", {"on": "2025-09-11", "reason": "overig"})],
            GuestStatus(Status.EXPIRED, date(2025, 9, 11)),
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
    in_memory_identity: InMemoryIdentity,
    published: list[tuple[str, dict[str, Any]]],
    guest_status: GuestStatus,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    for kind, data in published:
        in_memory_identity.counter.happens(guest, kind, **data)
    await in_memory_identity.deliver_all(guest)
    login = await in_memory_identity.logs_in("jan")
    assert login.guest is not None
    assert (login.guest.guest_id, login.guest.guest_status) == (guest, guest_status)


async def test_i7_a_reregistration_may_come_with_another_account(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan")
    in_memory_identity.counter.happens(guest, "subscription-expired.v1", on="2025-09-11", reason="overig")
    in_memory_identity.counter.happens(
        guest, "guest-reregistered.v1", **{**REREGISTERED, "login_account": existing("jan")}
    )
    await in_memory_identity.deliver_all(guest)
    linked = (await in_memory_identity.account("jan")).guests[guest]
    assert linked.guest_status == GuestStatus(Status.VALID, LATER)


async def test_i7_a_card_registered_afresh_is_the_same_guest(in_memory_identity: InMemoryIdentity) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    in_memory_identity.counter.happens(guest, "guest-deregistered.v1", reason="vergissing")
    in_memory_identity.counter.registers_afresh(guest, existing("jan"))
    await in_memory_identity.deliver_all(guest)
    assert (await in_memory_identity.link(guest)).registered
    assert (await in_memory_identity.logs_in("jan")).guest is not None


@pytest.mark.parametrize("kind", ["lending-strips-granted.v1", "something-of-tomorrow.v9"])
async def test_i8_what_means_nothing_here_moves_the_inbox_only(
    in_memory_identity: InMemoryIdentity, kind: str
) -> None:
    guest = in_memory_identity.counter.registers("jan")
    await in_memory_identity.deliver_all(guest)
    events = len(await in_memory_identity.topics())
    in_memory_identity.counter.happens(guest, kind, whatever=1)
    await in_memory_identity.deliver_all(guest)
    assert (len(await in_memory_identity.topics()), in_memory_identity.version_of(guest)) == (events, 2)


async def test_i8_a_message_twice_has_one_effect(in_memory_identity: InMemoryIdentity) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    message = in_memory_identity.registration.messages[guest][0]
    await in_memory_identity.deliver(message)
    events = await in_memory_identity.topics()
    await in_memory_identity.deliver(message)
    assert await in_memory_identity.topics() == events


async def test_i8_an_erased_message_applies_without_effect(in_memory_identity: InMemoryIdentity) -> None:
    from dataclasses import replace

    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver(
        replace(in_memory_identity.registration.messages[guest][0], data={}, erased=True)
    )
    assert (await in_memory_identity.topics(), in_memory_identity.version_of(guest)) == ([], 1)


async def test_i8_a_directory_that_is_down_leaves_nothing_behind(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    in_memory_identity.directory.unplugged = True
    with pytest.raises(DirectoryUnavailable):
        await in_memory_identity.deliver(in_memory_identity.registration.messages[guest][0])
    assert (await in_memory_identity.topics(), in_memory_identity.version_of(guest)) == ([], 0)


async def test_i8_a_registration_that_is_down_leaves_nothing_behind(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("kees", new("acc-created"))
    in_memory_identity.registration.unplugged = True
    with pytest.raises(RegistrationUnavailable):
        await in_memory_identity.deliver(in_memory_identity.registration.messages[guest][0])
    assert (await in_memory_identity.topics(), in_memory_identity.version_of(guest)) == ([], 0)
