"""A login account is found before it is linked (R17)."""

from __future__ import annotations

import pytest

from registration.application.dependencies import FoundAccount
from registration.application.find_login_account import find_login_account
from shared.kernel.library_card import MalformedIsil
from tests.support.registration import GRONINGEN, MERGED, RegistrationUseCases


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
