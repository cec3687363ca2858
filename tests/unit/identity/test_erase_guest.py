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
from tests.support.identity import HOME_ISIL, WISECAT, House, account_details, existing, new


@pytest.fixture
def house() -> House:
    return House(account_details("jan"), account_details("piet"))


async def opened_anew(house: House, name: str = "kees") -> UUID:
    """A guest with an account that was opened at registration, all of it heard here."""
    guest = house.counter.registers(name, new("acc-new"))
    house.counter.wants_new_account(guest, "acc-new", name)
    await house.deliver_all(guest)
    return guest


async def erase(house: House, guest: UUID) -> None:
    house.counter.erases(guest)
    await house.deliver_all(guest)


async def key_of(house: House, account_id: str) -> object:
    return await house.deps.data_keys.get(login_account_stream(account_id))


async def test_i9_the_account_of_an_erased_guest_goes_with_its_key_and_username(house: House) -> None:
    guest = await opened_anew(house)
    assert await key_of(house, "acc-new") is not None
    await erase(house, guest)
    link = await house.link(guest)
    assert (link.answer, link.erased, link.registered, link.guest_status.ends_on) == (None, True, False, None)
    assert await key_of(house, "acc-new") is None
    assert house.log.rows("usernames") == []
    assert await find_account("acc-new", house.deps) is None
    assert await house.log.erased([guest, login_account_stream("acc-new")]) == {
        guest,
        login_account_stream("acc-new"),
    }
    with pytest.raises(AccountNotFound):
        await show_login_account("acc-new", house.deps)
    assert await find_login_account("kees", HOME_ISIL, house.deps) is None


async def test_i9_identitys_own_messages_of_the_guest_say_erased(house: House) -> None:
    guest, other = await opened_anew(house), house.counter.registers("piet")
    await house.deliver_all(other)
    await erase(house, guest)
    page = await LogFeed(house.log, published_messages(house.store)).after(0, limit=100, wait=0)
    assert {(each.subject, each.erased) for each in page.messages} == {(guest, True), (other, False)}
    assert [each.type for each in page.messages if each.subject == guest] == [
        "guest-noted.v1",
        "login-account-linked.v1",
        "login-account-released.v1",
        "guest-standing-changed.v1",
    ]


async def test_i9_an_account_that_another_guest_still_uses_stays(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    elsewhere = house.counter.registers("jan", existing("jan"), "3003")
    for each in (guest, elsewhere):
        await house.deliver_all(each)
    await erase(house, guest)
    account = await house.account("jan")
    assert list(account.guests) == [elsewhere]
    assert await details_of(account, house.deps) == account_details("jan")
    assert (await house.logs_in("jan", "3003")).guest is not None

    await erase(house, elsewhere)
    assert await find_account("acc-jan", house.deps) is None


async def test_i9_an_account_opened_for_the_guest_and_taken_off_again_goes_too(house: House) -> None:
    guest = await opened_anew(house)
    house.counter.happens(guest, "login-account-unlinked.v1", reason="vergissing")
    await erase(house, guest)
    assert await find_account("acc-new", house.deps) is None
    assert await key_of(house, "acc-new") is None


async def test_i9_a_parents_account_that_was_taken_off_a_child_stays(house: House) -> None:
    child = house.counter.registers("kind", existing("jan"))
    house.counter.asks_link(child, existing("piet"))
    await house.deliver_all(child)
    await erase(house, child)
    assert (await house.account("jan")).guests == {}
    assert await details_of(await house.account("jan"), house.deps) == account_details("jan")


async def test_i9_a_login_after_the_erasure_is_decided_from_scratch(house: House) -> None:
    """The directory knows the account: it begins anew, under a key of its own, with another actor."""
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    before = await house.logs_in("jan")
    await erase(house, guest)
    after = await house.logs_in("jan")
    assert (after.new_actor, after.first_login, after.guest) == (True, True, None)
    assert after.actor_id != before.actor_id
    account = await house.account("jan")
    assert account.id != login_account_stream("acc-jan")
    assert await details_of(account, house.deps) == account_details("jan")
    assert await key_of(house, "acc-jan") is None
    assert not (await house.logs_in("jan")).first_login


async def test_i9_an_account_that_the_directory_does_not_know_is_gone(house: House) -> None:
    guest = await opened_anew(house)
    await erase(house, guest)
    with pytest.raises(AccountNotFound):
        await house.logs_in("new")


async def test_i9_who_comes_back_and_is_erased_again_is_gone_again(house: House) -> None:
    for _ in range(3):
        guest = house.counter.registers("jan", existing("jan"))
        await house.deliver_all(guest)
        assert isinstance((await house.link(guest)).answer, Linked)
        assert (await house.logs_in("jan")).guest is not None
        await erase(house, guest)
        assert await find_account("acc-jan", house.deps) is None
    assert house.log.rows("data_keys") == []
    assert house.log.rows("usernames") == []


async def test_i9_an_account_may_be_opened_again_under_its_id_and_username(house: House) -> None:
    guest = await opened_anew(house)
    await erase(house, guest)
    command = OpenLoginAccount("acc-new", "kees", "kees@example.org", HOME_ISIL, "0990")
    opened = await open_login_account(command, Context(WISECAT), house.deps)
    assert opened.resource_id != login_account_stream("acc-new")
    assert (await show_login_account("acc-new", house.deps)).details is not None


async def test_i9_news_of_a_new_registration_before_that_of_the_erasure_waits_for_it(house: House) -> None:
    """Two guests have no order among each other: refusing would tie the account to nobody for good."""
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    house.counter.erases(guest)
    again = house.counter.registers("jan", existing("jan"))
    events = await house.topics()
    with pytest.raises(CannotApply) as caught:
        await house.deliver_all(again)
    assert isinstance(caught.value.__cause__, BeingErased)
    assert await house.topics() == events
    await house.deliver_all(guest)
    await house.deliver_all(again)
    assert isinstance((await house.link(again)).answer, Linked)
    assert (await house.logs_in("jan")).guest is not None


@pytest.mark.parametrize("heard", range(5))
async def test_i9_however_much_was_heard_before_all_the_rest_applies_and_leaves_nothing(
    house: House, heard: int
) -> None:
    guest = house.counter.registers("kees", new("acc-new"))
    house.counter.wants_new_account(guest, "acc-new", "kees")
    house.counter.happens(guest, "subscription-expired.v1", on="2025-09-11", reason="overig")
    term = {"begin": "2025-09-15", "end": "2025-12-15", "provisional": True}
    house.counter.happens(guest, "guest-reregistered.v1", term=term, login_account=existing("piet"))
    house.counter.happens(guest, "guest-suspended.v1", reason="fines")
    await house.apply_now(guest, house.registration.messages[guest][:heard])
    await erase(house, guest)
    assert house.version_of(guest) == 5
    for table in ("data_keys", "usernames"):
        left = [row for row in house.log.rows(table) if row["subject_id"] != login_account_stream("acc-piet")]
        assert left == []
    link = await house.store.find(GuestLink, guest)
    assert link is None if heard == 0 else link is not None and link.erased
    assert await find_account("acc-piet", house.deps) is None
    with pytest.raises(AccountNotFound):
        await house.logs_in("new")


async def test_i9_a_message_from_before_that_comes_unflagged_ties_an_erased_guest_to_nothing(
    house: House,
) -> None:
    guest = await opened_anew(house)
    await erase(house, guest)
    await house.deliver(house.counter.asks_link(guest, existing("piet")))
    assert (await house.link(guest)).answer is None
    assert await find_account("acc-piet", house.deps) is None


async def test_i9_the_erasure_twice_has_one_effect(house: House) -> None:
    guest = await opened_anew(house)
    await erase(house, guest)
    events = await house.topics()
    await house.deliver(house.registration.messages[guest][-1])
    assert await house.topics() == events


async def test_i9_what_was_erased_is_in_the_ledger(house: House, tmp_path: Path) -> None:
    house.deps = replace(house.deps, erasure_ledger=ErasureLedger(tmp_path / "ledger.jsonl"))
    guest = await opened_anew(house)
    await erase(house, guest)
    subjects = await house.deps.erasure_ledger.subjects()
    assert set(subjects) == {guest, login_account_stream("acc-new")}


@pytest.mark.parametrize("linked", [True, False])
async def test_i9_the_ledger_erases_again_what_a_restored_backup_brought_back(
    house: House, tmp_path: Path, linked: bool
) -> None:
    house.deps = replace(house.deps, erasure_ledger=ErasureLedger(tmp_path / "ledger.jsonl"))
    guest = await opened_anew(house)
    if not linked:
        house.counter.happens(guest, "login-account-unlinked.v1", reason="vergissing")
        await house.deliver_all(guest)
    await house.deps.erasure_ledger.note([guest, login_account_stream("acc-new"), uuid4()])
    counts = [await apply_erasures(WISECAT, house.deps) for _ in range(2)]
    assert counts[1] == 0
    assert (await house.link(guest)).erased
    assert await find_account("acc-new", house.deps) is None
    assert house.log.rows("data_keys") == house.log.rows("usernames") == []
    house.counter.erases(guest)
    await house.deliver_all(guest)  # registration tells it once more
    assert house.version_of(guest) == len(house.registration.messages[guest])


async def test_i9_an_account_whose_key_alone_is_gone_still_logs_in(house: House) -> None:
    guest = house.counter.registers("jan", existing("jan"))
    await house.deliver_all(guest)
    await house.log.append([], [erasure_row(login_account_stream("acc-jan"))])
    assert (await house.logs_in("jan")).guest is not None
    assert (await show_login_account("acc-jan", house.deps)).details is None


async def test_i9_erased_streams_are_replayed(house: House) -> None:
    guest = await opened_anew(house)
    await erase(house, guest)
    account = await house.store.load(LoginAccount, login_account_stream("acc-new"))
    assert (account.erased, account.guests, account.details) == (True, {}, b"")
    assert (await house.link(guest)).guest_status.status == Status.ERASED
