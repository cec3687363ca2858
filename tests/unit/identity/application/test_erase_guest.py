"""What registration's erasures do here (I9): the link, the account, the key, and who may come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from identity.adapters.messages import published_messages
from identity.application.dependencies import BeingErased, Context
from identity.application.erase_guest import apply_erasures
from identity.application.find_login_account import find_login_account
from identity.application.open_login_account import OpenLoginAccount, open_login_account
from identity.application.repository import details_of, find_account
from identity.application.show_login_account import show_login_account
from identity.domain.errors import AccountNotFound
from identity.domain.guest_link import GuestLink, Linked
from identity.domain.guest_status import Status
from identity.domain.login_account import LoginAccount, login_account_stream
from shared.event_log import ErasureLedger, erasure_row
from shared.messaging.errors import CannotApply
from shared.messaging.feed import LogFeed
from tests.support.event_log import make_unreadable
from tests.support.identity import HOME_ISIL, WISECAT, InMemoryIdentity, account_details, existing, new


@pytest.fixture
def in_memory_identity() -> InMemoryIdentity:
    return InMemoryIdentity(account_details("jan"), account_details("piet"))


async def opened_again(in_memory_identity: InMemoryIdentity, name: str = "kees") -> UUID:
    """A guest with an account that was opened at registration, all of it received here."""
    guest = in_memory_identity.counter.registers(name, new("acc-new"))
    in_memory_identity.counter.wants_new_account(guest, "acc-new", name)
    await in_memory_identity.deliver_all(guest)
    return guest


async def erase(in_memory_identity: InMemoryIdentity, guest: UUID) -> None:
    in_memory_identity.counter.erases(guest)
    await in_memory_identity.deliver_all(guest)


async def key_of(in_memory_identity: InMemoryIdentity, account_id: str) -> object:
    return await in_memory_identity.deps.data_keys.get(login_account_stream(account_id))


async def test_i9_the_account_of_an_erased_guest_goes_with_its_key_and_username(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = await opened_again(in_memory_identity)
    assert await key_of(in_memory_identity, "acc-new") is not None
    await erase(in_memory_identity, guest)
    link = await in_memory_identity.link(guest)
    assert (link.answer, link.erased, link.registered, link.guest_status.ends_on) == (None, True, False, None)
    assert await key_of(in_memory_identity, "acc-new") is None
    assert in_memory_identity.log.rows("usernames") == []
    assert await find_account("acc-new", in_memory_identity.deps) is None
    assert set(await in_memory_identity.log.erasures()) == {
        guest,
        login_account_stream("acc-new"),
    }
    with pytest.raises(AccountNotFound):
        await show_login_account("acc-new", in_memory_identity.deps)
    assert await find_login_account("kees", HOME_ISIL, in_memory_identity.deps) is None


async def test_i9_identitys_own_messages_of_the_guest_say_erased(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest, other = await opened_again(in_memory_identity), in_memory_identity.counter.registers("piet")
    await in_memory_identity.deliver_all(other)
    await erase(in_memory_identity, guest)
    page = await LogFeed(in_memory_identity.log, published_messages(in_memory_identity.store)).after(
        0, limit=100, wait=0
    )
    assert {(each.subject, each.erased) for each in page.messages} == {(guest, True), (other, False)}
    assert [each.type for each in page.messages if each.subject == guest] == [
        "guest-noted.v1",
        "login-account-linked.v1",
        "login-account-released.v1",
        "guest-standing-changed.v1",
    ]


async def test_i9_an_account_that_another_guest_still_uses_stays(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    elsewhere = in_memory_identity.counter.registers("jan", existing("jan"), "3003")
    for each in (guest, elsewhere):
        await in_memory_identity.deliver_all(each)
    await erase(in_memory_identity, guest)
    account = await in_memory_identity.account("jan")
    assert list(account.guests) == [elsewhere]
    assert await details_of(account, in_memory_identity.deps) == account_details("jan")
    assert (await in_memory_identity.logs_in("jan", "3003")).guest is not None

    await erase(in_memory_identity, elsewhere)
    assert await find_account("acc-jan", in_memory_identity.deps) is None


async def test_i9_an_account_opened_for_the_guest_and_taken_off_again_goes_too(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = await opened_again(in_memory_identity)
    in_memory_identity.counter.happens(guest, "login-account-unlinked.v1", reason="vergissing")
    await erase(in_memory_identity, guest)
    assert await find_account("acc-new", in_memory_identity.deps) is None
    assert await key_of(in_memory_identity, "acc-new") is None


async def test_i9_a_parents_account_that_was_taken_off_a_child_stays(
    in_memory_identity: InMemoryIdentity,
) -> None:
    child = in_memory_identity.counter.registers("kind", existing("jan"))
    in_memory_identity.counter.asks_link(child, existing("piet"))
    await in_memory_identity.deliver_all(child)
    await erase(in_memory_identity, child)
    assert (await in_memory_identity.account("jan")).guests == {}
    assert await details_of(
        await in_memory_identity.account("jan"), in_memory_identity.deps
    ) == account_details("jan")


async def test_i9_a_login_after_the_erasure_is_decided_from_scratch(
    in_memory_identity: InMemoryIdentity,
) -> None:
    """The directory knows the account: it begins again, under a key of its own, with another actor."""
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    before = await in_memory_identity.logs_in("jan")
    await erase(in_memory_identity, guest)
    after = await in_memory_identity.logs_in("jan")
    assert (after.new_actor, after.first_login, after.guest) == (True, True, None)
    assert after.actor_id != before.actor_id
    account = await in_memory_identity.account("jan")
    assert account.id != login_account_stream("acc-jan")
    assert await details_of(account, in_memory_identity.deps) == account_details("jan")
    assert await key_of(in_memory_identity, "acc-jan") is None
    assert not (await in_memory_identity.logs_in("jan")).first_login


async def test_i9_an_account_that_the_directory_does_not_know_is_gone(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = await opened_again(in_memory_identity)
    await erase(in_memory_identity, guest)
    with pytest.raises(AccountNotFound):
        await in_memory_identity.logs_in("new")


async def test_i9_who_comes_back_and_is_erased_again_is_gone_again(
    in_memory_identity: InMemoryIdentity,
) -> None:
    for _ in range(3):
        guest = in_memory_identity.counter.registers("jan", existing("jan"))
        await in_memory_identity.deliver_all(guest)
        assert isinstance((await in_memory_identity.link(guest)).answer, Linked)
        assert (await in_memory_identity.logs_in("jan")).guest is not None
        await erase(in_memory_identity, guest)
        assert await find_account("acc-jan", in_memory_identity.deps) is None
    assert in_memory_identity.log.rows("data_keys") == []
    assert in_memory_identity.log.rows("usernames") == []


async def test_i9_an_account_may_be_opened_again_under_its_id_and_username(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = await opened_again(in_memory_identity)
    await erase(in_memory_identity, guest)
    command = OpenLoginAccount("acc-new", "kees", "kees@example.org", HOME_ISIL, "0990")
    opened = await open_login_account(command, Context(WISECAT), in_memory_identity.deps)
    assert opened.resource_id != login_account_stream("acc-new")
    assert (await show_login_account("acc-new", in_memory_identity.deps)).details is not None


async def test_i9_news_of_a_new_registration_before_that_of_the_erasure_waits_for_it(
    in_memory_identity: InMemoryIdentity,
) -> None:
    """Two guests have no order among each other: a refusal would leave the account without a guest."""
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    in_memory_identity.counter.erases(guest)
    again = in_memory_identity.counter.registers("jan", existing("jan"))
    events = await in_memory_identity.topics()
    with pytest.raises(CannotApply) as caught:
        await in_memory_identity.deliver_all(again)
    assert isinstance(caught.value.__cause__, BeingErased)
    assert await in_memory_identity.topics() == events
    await in_memory_identity.deliver_all(guest)
    await in_memory_identity.deliver_all(again)
    assert isinstance((await in_memory_identity.link(again)).answer, Linked)
    assert (await in_memory_identity.logs_in("jan")).guest is not None


@pytest.mark.parametrize("received", range(5))
async def test_i9_however_much_was_received_before_all_the_rest_applies_and_leaves_nothing(
    in_memory_identity: InMemoryIdentity, received: int
) -> None:
    guest = in_memory_identity.counter.registers("kees", new("acc-new"))
    in_memory_identity.counter.wants_new_account(guest, "acc-new", "kees")
    in_memory_identity.counter.happens(guest, "subscription-expired.v1", on="2025-09-11", reason="overig")
    term = {"begin": "2025-09-15", "end": "2025-12-15", "provisional": True}
    in_memory_identity.counter.happens(
        guest, "guest-reregistered.v1", term=term, login_account=existing("piet")
    )
    in_memory_identity.counter.happens(guest, "guest-suspended.v1", reason="fines")
    await in_memory_identity.apply_now(guest, in_memory_identity.registration.messages[guest][:received])
    await erase(in_memory_identity, guest)
    assert in_memory_identity.version_of(guest) == 5
    for table in ("data_keys", "usernames"):
        left = [
            row
            for row in in_memory_identity.log.rows(table)
            if row["subject_id"] != login_account_stream("acc-piet")
        ]
        assert left == []
    link = await in_memory_identity.store.find(GuestLink, guest)
    assert link is None if received == 0 else link is not None and link.erased
    assert await find_account("acc-piet", in_memory_identity.deps) is None
    with pytest.raises(AccountNotFound):
        await in_memory_identity.logs_in("new")


async def test_i9_a_message_from_before_that_comes_unflagged_ties_an_erased_guest_to_nothing(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = await opened_again(in_memory_identity)
    await erase(in_memory_identity, guest)
    await in_memory_identity.deliver(in_memory_identity.counter.asks_link(guest, existing("piet")))
    assert (await in_memory_identity.link(guest)).answer is None
    assert await find_account("acc-piet", in_memory_identity.deps) is None


async def test_i9_the_erasure_twice_has_one_effect(in_memory_identity: InMemoryIdentity) -> None:
    guest = await opened_again(in_memory_identity)
    await erase(in_memory_identity, guest)
    events = await in_memory_identity.topics()
    await in_memory_identity.deliver(in_memory_identity.registration.messages[guest][-1])
    assert await in_memory_identity.topics() == events


async def test_i9_what_was_erased_is_in_the_ledger(
    in_memory_identity: InMemoryIdentity, tmp_path: Path
) -> None:
    in_memory_identity.deps = replace(
        in_memory_identity.deps, erasure_ledger=ErasureLedger(tmp_path / "ledger.jsonl")
    )
    guest = await opened_again(in_memory_identity)
    await erase(in_memory_identity, guest)
    subjects = await in_memory_identity.deps.erasure_ledger.subjects()
    assert set(subjects) == {guest, login_account_stream("acc-new")}


@pytest.mark.parametrize("linked", [True, False])
async def test_i9_the_ledger_erases_again_what_a_restored_backup_brought_back(
    in_memory_identity: InMemoryIdentity, tmp_path: Path, linked: bool
) -> None:
    in_memory_identity.deps = replace(
        in_memory_identity.deps, erasure_ledger=ErasureLedger(tmp_path / "ledger.jsonl")
    )
    guest = await opened_again(in_memory_identity)
    if not linked:
        in_memory_identity.counter.happens(guest, "login-account-unlinked.v1", reason="vergissing")
        await in_memory_identity.deliver_all(guest)
    await in_memory_identity.deps.erasure_ledger.note([guest, login_account_stream("acc-new"), uuid4()])
    counts = [await apply_erasures(WISECAT, in_memory_identity.deps) for _ in range(2)]
    assert (counts[1].erased, counts[1].failed) == (0, {})
    assert (await in_memory_identity.link(guest)).erased
    assert await find_account("acc-new", in_memory_identity.deps) is None
    assert in_memory_identity.log.rows("data_keys") == in_memory_identity.log.rows("usernames") == []
    in_memory_identity.counter.erases(guest)
    await in_memory_identity.deliver_all(guest)  # registration publishes it once more
    assert in_memory_identity.version_of(guest) == len(in_memory_identity.registration.messages[guest])


async def test_i9_a_guest_that_cannot_be_read_keeps_no_other_from_being_erased_again(
    in_memory_identity: InMemoryIdentity, tmp_path: Path
) -> None:
    ledger = ErasureLedger(tmp_path / "ledger.jsonl")
    in_memory_identity.deps = replace(in_memory_identity.deps, erasure_ledger=ledger)
    good, broken = await opened_again(in_memory_identity), uuid4()
    await make_unreadable(in_memory_identity.log, broken)
    await ledger.note([broken, good])
    done = await apply_erasures(WISECAT, in_memory_identity.deps)
    assert (done.erased, done.failed) == (2, {})
    assert (await in_memory_identity.link(good)).erased
    assert broken in await in_memory_identity.log.erasures()


async def test_i9_an_account_whose_key_alone_is_gone_still_logs_in(
    in_memory_identity: InMemoryIdentity,
) -> None:
    guest = in_memory_identity.counter.registers("jan", existing("jan"))
    await in_memory_identity.deliver_all(guest)
    await in_memory_identity.log.append([], [erasure_row(login_account_stream("acc-jan"))])
    assert (await in_memory_identity.logs_in("jan")).guest is not None
    assert (await show_login_account("acc-jan", in_memory_identity.deps)).details is None


async def test_i9_erased_streams_are_replayed(in_memory_identity: InMemoryIdentity) -> None:
    guest = await opened_again(in_memory_identity)
    await erase(in_memory_identity, guest)
    account = await in_memory_identity.store.load(LoginAccount, login_account_stream("acc-new"))
    assert (account.erased, account.guests, account.details) == (True, {}, b"")
    assert (await in_memory_identity.link(guest)).guest_status.status == Status.ERASED
