"""A login account is found before it is linked (R17)."""

from __future__ import annotations

import pytest

from registration.application.dependencies import FoundAccount
from registration.application.find_login_account import find_login_account
from shared.kernel.library_card import MalformedIsil
from tests.support.registration import GRONINGEN, RegistrationUseCases


async def test_r17_a_login_account_is_found_by_username_at_the_home_library(
    in_memory_registration: RegistrationUseCases,
) -> None:
    found = FoundAccount("acc-jan", "jan.jansen", "jan@example.org")
    in_memory_registration.accounts.by_name["jan.jansen", GRONINGEN] = found
    assert await find_login_account("jan.jansen", "nl-070288", in_memory_registration.deps) == found
    assert await find_login_account("jan.jansen", "NL-083424", in_memory_registration.deps) is None
    with pytest.raises(MalformedIsil):
        await find_login_account("jan.jansen", "L-070288", in_memory_registration.deps)
