"""A login account is found before it is linked, and shown with its guest afterwards (R17)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from registration.application.dependencies import ActorMerge, FoundAccount, GuestAccount
from registration.application.find_login_account import (
    AccountHolder,
    GuestsOfUsername,
    find_login_account,
    guests_with_username,
    other_holder,
    show_accounts,
)
from registration.application.merge_guests import MergeGuests, merge_guests
from registration.application.repository import load_guest
from registration.domain.errors import GuestNotFound, LoginAccountsUnavailable
from registration.domain.login_link import ExistingAccount, NewLoginAccount
from shared.event_log import Metadata
from shared.kernel.library_card import MalformedIsil
from shared.kernel.login_account import MOST_NAMED
from shared.platform import limits
from tests.support.registration import CARD, GRONINGEN, MERGED, RegistrationUseCases, member


async def test_r17_a_login_account_is_found_by_username_at_the_home_library(
    in_memory_registration: RegistrationUseCases,
) -> None:
    deps, by = in_memory_registration.deps, in_memory_registration.context()
    account = FoundAccount("acc-jan", "jan.jansen", "jan@example.org", GRONINGEN, "person")
    in_memory_registration.accounts.by_name["jan.jansen", GRONINGEN] = account
    found = await find_login_account("jan.jansen", "nl-070288", by, deps)
    assert found is not None
    assert found.account == account
    assert deps.account_handles.open(found.handle, by) == account
    assert await find_login_account("jan.jansen", "NL-083424", by, deps) is None
    with pytest.raises(MalformedIsil):
        await find_login_account("jan.jansen", "L-070288", by, deps)


async def test_i10_a_username_is_found_at_a_library_that_merged_into_the_home_library(
    in_memory_registration: RegistrationUseCases,
) -> None:
    deps, by = in_memory_registration.deps, in_memory_registration.context()
    accounts = in_memory_registration.accounts.by_name
    accounts["jan", MERGED] = FoundAccount("acc-old", "jan", "jan@example.org", MERGED, "person")
    for asked in (GRONINGEN, MERGED, f"{GRONINGEN}0001"):
        found = await find_login_account("jan", asked, by, deps)
        assert found is not None
        assert found.account.account_id == "acc-old"
    accounts["jan", GRONINGEN] = FoundAccount("acc-new", "jan", "jan@example.org", GRONINGEN, "person")
    found = await find_login_account("jan", MERGED, by, deps)
    assert found is not None
    assert found.account.account_id == "acc-new"


JAN = FoundAccount("acc-jan", "jan.jansen", "jan@example.org", GRONINGEN, "person")
NEW = NewLoginAccount("jan2", "jan2@example.org")


class Identity:
    """Replies after so many seconds; None: not at all."""

    def __init__(self, seconds: float | None = 0) -> None:
        self.seconds, self.questions = seconds, list[Sequence[str]]()

    async def find(self, username: str, home_isil: str) -> FoundAccount | None:
        raise AssertionError("accounts of a guest are known by their ids")

    async def by_id(self, account_id: str) -> FoundAccount | None:
        raise AssertionError("all accounts of a guest are one question")

    async def names(self, account_ids: Sequence[str]) -> Sequence[GuestAccount]:
        await self._replies(account_ids)
        return [
            GuestAccount(JAN.account_id, "found", JAN.username, JAN.email)
            if account_id == JAN.account_id
            else GuestAccount(account_id, "unknown")
            for account_id in account_ids
        ]

    async def with_username(self, username: str, home_isils: Sequence[str]) -> Sequence[str]:
        await self._replies([username, *home_isils])
        return [JAN.account_id]

    async def _replies(self, question: Sequence[str]) -> None:
        self.questions.append(question)
        if self.seconds is None:
            raise LoginAccountsUnavailable
        await asyncio.sleep(self.seconds)

    async def actor_merge(self, account_id: str, guest_id: UUID) -> ActorMerge | None:
        raise AssertionError("nobody merges")

    async def merge_actors(self, merge: ActorMerge, correlation_id: UUID) -> None:
        raise AssertionError("nobody merges")


async def test_r17_accounts_of_a_guest_are_one_question_when_they_are_shown(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    deps = replace(in_memory_registration.deps, login_accounts=(identity := Identity()))
    position = await in_memory_registration.log.position()
    shown = await show_accounts(guest_id, ["acc-jan", None, "acc-gone", "acc-jan"], "1001", deps)
    assert shown == {
        "acc-jan": GuestAccount("acc-jan", "found", "jan.jansen", "jan@example.org"),
        "acc-gone": GuestAccount("acc-gone", "unknown"),
    }
    assert identity.questions == [["acc-jan", "acc-gone"]]
    assert await in_memory_registration.log.position() == position
    with pytest.raises(GuestNotFound):
        await show_accounts(guest_id, ["acc-jan"], "2002", deps)


@pytest.mark.parametrize("seconds", [None, 60])
async def test_r17_identity_that_does_not_reply_is_not_waited_for(
    in_memory_registration: RegistrationUseCases, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BESIDE_A_PAGE", 0.01)
    guest_id = await in_memory_registration.register(account=NEW)
    deps = replace(in_memory_registration.deps, login_accounts=Identity(seconds))
    new_id = (await in_memory_registration.show(guest_id)).login_link.account_id
    assert new_id is not None
    for account_id in ("acc-jan", new_id):
        shown = await show_accounts(guest_id, [account_id], "1001", deps)
        assert shown[account_id].state == "unavailable"


async def test_r17_a_new_account_that_is_not_open_yet_is_shown_as_it_was_asked_for(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register(account=NEW)
    deps = replace(in_memory_registration.deps, login_accounts=Identity())
    new_id = (await in_memory_registration.show(guest_id)).login_link.account_id
    assert new_id is not None
    shown = await show_accounts(guest_id, [new_id], "1001", deps)
    assert shown[new_id] == GuestAccount(new_id, "found", "jan2", "jan2@example.org")


async def test_r17_no_question_names_more_accounts_than_identity_takes(
    in_memory_registration: RegistrationUseCases,
) -> None:
    guest_id = await in_memory_registration.register()
    deps = replace(in_memory_registration.deps, login_accounts=(identity := Identity()))
    ids = [f"acc-{number}" for number in range(MOST_NAMED + 1)]
    shown = await show_accounts(guest_id, ids, "1001", deps)
    assert [len(question) for question in identity.questions] == [MOST_NAMED]
    assert list(shown) == ids
    assert [account.state for account in shown.values()] == ["unknown"] * MOST_NAMED + ["unavailable"]
    assert await show_accounts(guest_id, [None], "1001", deps) == {}
    assert len(identity.questions) == 1


OTHER_CARD = "0990139313"


async def linked(use_cases: RegistrationUseCases, card: str = CARD, organisation: str = "1001") -> UUID:
    use_cases.says(member(card), card=card)
    account = ExistingAccount("acc-jan")
    guest_id = await use_cases.register(card, account, organisation)
    guest = await load_guest(guest_id, organisation, use_cases.deps)
    guest.confirm_link("acc-jan", too_late=False, now=use_cases.clock.now())
    await use_cases.deps.store.save(guest, metadata=Metadata("identity", uuid4()))
    return guest_id


async def test_i3_the_guest_who_has_the_account_is_named(
    in_memory_registration: RegistrationUseCases,
) -> None:
    deps, holder = in_memory_registration.deps, await linked(in_memory_registration)
    in_memory_registration.says(member(OTHER_CARD), card=OTHER_CARD)
    asking = await in_memory_registration.register(OTHER_CARD, ExistingAccount("acc-jan"))
    named = await other_holder(asking, "acc-jan", "1001", deps)
    assert named == AccountHolder(holder, "J. Jansen")
    assert await other_holder(holder, "acc-jan", "1001", deps) is None, "who only asks for it has it not"
    assert await other_holder(asking, "acc-other", "1001", deps) is None


async def test_i3_r20_the_guest_of_another_organisation_is_not_named(
    in_memory_registration: RegistrationUseCases,
) -> None:
    await linked(in_memory_registration, organisation="2002")
    in_memory_registration.says(member(OTHER_CARD), card=OTHER_CARD)
    asking = await in_memory_registration.register(OTHER_CARD, ExistingAccount("acc-jan"))
    assert await other_holder(asking, "acc-jan", "1001", in_memory_registration.deps) is None


async def test_i3_r18_of_a_merged_record_the_guest_is_named(
    in_memory_registration: RegistrationUseCases,
) -> None:
    deps = in_memory_registration.deps
    merged, into = await linked(in_memory_registration), await linked(in_memory_registration, OTHER_CARD)
    await merge_guests(MergeGuests(merged, into), in_memory_registration.context(), deps)
    in_memory_registration.says(member("0990139399"), card="0990139399")
    asking = await in_memory_registration.register("0990139399", ExistingAccount("acc-jan"))
    named = await other_holder(asking, "acc-jan", "1001", deps)
    assert named is not None
    assert named.guest_id == into


async def test_i3_a_username_finds_the_guest_who_has_the_account_and_not_who_asked_for_it(
    in_memory_registration: RegistrationUseCases,
) -> None:
    holder = await linked(in_memory_registration)
    in_memory_registration.says(member(OTHER_CARD), card=OTHER_CARD)
    await in_memory_registration.register(OTHER_CARD, ExistingAccount("acc-jan"))
    deps = replace(in_memory_registration.deps, login_accounts=(identity := Identity()))
    found = await guests_with_username("jan.jansen", "1001", deps)
    assert found == GuestsOfUsername("searched", [holder])
    assert identity.questions == [["jan.jansen", GRONINGEN, MERGED]], "I10"
    assert await guests_with_username("jan.jansen", "2002", deps) == GuestsOfUsername("searched", []), "R20"


async def test_r18_a_username_of_a_merged_record_finds_its_guest(
    in_memory_registration: RegistrationUseCases,
) -> None:
    merged, into = await linked(in_memory_registration), await linked(in_memory_registration, OTHER_CARD)
    await merge_guests(
        MergeGuests(merged, into), in_memory_registration.context(), in_memory_registration.deps
    )
    deps = replace(in_memory_registration.deps, login_accounts=Identity())
    assert (await guests_with_username("jan.jansen", "1001", deps)).guest_ids == [into]


@pytest.mark.parametrize("seconds", [None, 60])
async def test_r17_a_search_by_username_does_not_wait_for_identity(
    in_memory_registration: RegistrationUseCases, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BESIDE_A_PAGE", 0.01)
    await linked(in_memory_registration)
    deps = replace(in_memory_registration.deps, login_accounts=Identity(seconds))
    assert await guests_with_username("jan.jansen", "1001", deps) == GuestsOfUsername("unavailable")


async def test_i10_while_it_is_not_known_where_to_look_a_search_says_so(
    in_memory_registration: RegistrationUseCases,
) -> None:
    """A row of the release before, whose libraries a worker still has to find."""
    guest_id = await linked(in_memory_registration)
    deps = replace(in_memory_registration.deps, login_accounts=(identity := Identity()))
    await deps.registrations.make_known(guest_id, "1001", [], "")
    assert (await guests_with_username("jan.jansen", "1001", deps)).state == "unavailable"
    assert identity.questions == []
