"""The account that a clerk chose is compared with the guest (R17), also after mergers of libraries (R3)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registration.adapters.account_handles import SealedAccountHandles
from registration.adapters.in_memory import InMemoryLookups
from registration.application.account_choice import verify_choice
from registration.application.dependencies import FoundAccount, Lookup, LookupKind
from registration.application.link_login_account import request_account_link
from registration.application.merge_guests import MergeGuests, merge_guests
from registration.domain.errors import AccountHandleInvalid, AccountOfOtherLibrary, AccountOfOtherPerson
from registration.domain.login_link import ExistingAccount, SearchedAccount, VerifiedAccount
from shared.kernel.library_card import person_ref
from shared.platform.secrets import derived_key
from tests.support.registration import (
    CARD,
    GRONINGEN,
    HANDLE_LIFETIME,
    PERSON_REF_KEY,
    RegistrationUseCases,
    member,
    registration_in_memory,
)

OTHER_CARD = "0990139313"
MERGED = "NL-070299"  # part of GRONINGEN now


def account(isil: str = GRONINGEN, card: str = CARD) -> FoundAccount:
    return FoundAccount("acc-jan", "jan", "jan@example.org", isil, person_ref(PERSON_REF_KEY, isil, card))


def found(use_cases: RegistrationUseCases, account: FoundAccount) -> ExistingAccount:
    use_cases.accounts.by_name[account.username, account.home_isil] = account
    return ExistingAccount(account.account_id)


@pytest.mark.parametrize("home", [GRONINGEN, f"{GRONINGEN}0001", MERGED])
@pytest.mark.parametrize("isil", [GRONINGEN, MERGED])
async def test_r3_r17_a_library_that_merged_is_the_same_home_library(
    in_memory_registration: RegistrationUseCases, home: str, isil: str
) -> None:
    choice = found(in_memory_registration, account(isil))
    by, deps = in_memory_registration.context(), in_memory_registration.deps
    assert await verify_choice(choice, home, [CARD], by, deps) == VerifiedAccount("acc-jan")
    with pytest.raises(AccountOfOtherPerson):
        await verify_choice(choice, home, [OTHER_CARD], by, deps)
    with pytest.raises(AccountOfOtherLibrary):
        await verify_choice(choice, "NL-083424", [CARD], by, deps)


async def test_r22_who_names_an_account_without_a_search_and_is_refused_is_recorded(
    in_memory_registration: RegistrationUseCases,
) -> None:
    named, by, deps = account(), in_memory_registration.context(), in_memory_registration.deps
    searched = SearchedAccount(deps.account_handles.seal(named, by))
    for choice in (searched, found(in_memory_registration, named)):
        with pytest.raises(AccountOfOtherPerson):
            await verify_choice(choice, GRONINGEN, [OTHER_CARD], by, deps)
        with pytest.raises(AccountOfOtherLibrary):
            await verify_choice(choice, "NL-083424", [CARD], by, deps)
    assert isinstance(deps.lookups, InMemoryLookups)
    assert deps.lookups.recorded == [
        (by.metadata.caused_by, Lookup(LookupKind.REGISTRATION, "acc-jan", isil, outcome))
        for isil, outcome in (
            (GRONINGEN, "account-of-other-person"),
            ("NL-083424", "account-of-other-library"),
        )
    ]


async def test_r10_r17_every_card_number_of_the_guest_counts(
    in_memory_registration: RegistrationUseCases,
) -> None:
    choice = found(in_memory_registration, account(card="0990139362"))
    by, deps = in_memory_registration.context(), in_memory_registration.deps
    numbers = [CARD, "0990139362"]
    assert await verify_choice(choice, GRONINGEN, numbers, by, deps) == VerifiedAccount("acc-jan")


async def test_r17_a_handle_outlives_a_new_master_key(in_memory_registration: RegistrationUseCases) -> None:
    by, clock = in_memory_registration.context(), in_memory_registration.clock
    before = SealedAccountHandles([b"1" * 32], HANDLE_LIFETIME, clock)
    after = SealedAccountHandles([b"2" * 32, b"1" * 32], HANDLE_LIFETIME, clock)
    assert after.open(before.seal(account(), by), by) == account()
    with pytest.raises(AccountHandleInvalid):
        before.open(after.seal(account(), by), by)


async def test_r17_a_handle_names_no_one_to_who_reads_it(
    in_memory_registration: RegistrationUseCases,
) -> None:
    by, handles = in_memory_registration.context(), in_memory_registration.deps.account_handles
    one, other = handles.seal(account(), by), handles.seal(account(), by)
    assert one != other
    assert "acc-jan" not in one
    in_memory_registration.clock.moment += HANDLE_LIFETIME - timedelta(seconds=1)
    assert handles.open(one, by) == handles.open(other, by)


@given(handle=st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.hex()))
async def test_r17_any_text_that_is_no_handle_is_refused(handle: str) -> None:
    use_cases = registration_in_memory()
    with pytest.raises(AccountHandleInvalid):
        await verify_choice(SearchedAccount(handle), GRONINGEN, [CARD], use_cases.context(), use_cases.deps)


def test_keys_of_different_purposes_differ() -> None:
    assert derived_key(bytes(32), "one") != derived_key(bytes(32), "other")
    assert derived_key(bytes(32), "one") == derived_key(bytes(32), "one") != bytes(32)


async def test_r18_an_account_on_a_merged_records_card_is_the_same_persons(
    in_memory_registration: RegistrationUseCases,
) -> None:
    use_cases = in_memory_registration
    use_cases.says(member(card=OTHER_CARD), OTHER_CARD)
    guest, record = await use_cases.register(), await use_cases.register(OTHER_CARD)
    await merge_guests(MergeGuests(record, guest), use_cases.context(), use_cases.deps)
    choice = found(use_cases, account(card=OTHER_CARD))
    await request_account_link(guest, choice, use_cases.context(), use_cases.deps)
    assert (await use_cases.show(guest)).login_link.account_id == "acc-jan"
