"""R22: an operator finds guests by the username of their login account; it is a recorded look-up."""

from __future__ import annotations

from registration.adapters.in_memory import InMemoryLookups
from registration.application.dependencies import FoundAccount, LookupKind
from registration.application.find_login_account import find_guests_of_account
from registration.domain.login_link import ExistingAccount
from shared.kernel.library_card import person_ref
from tests.support.registration import CARD, GRONINGEN, PERSON_REF_KEY, registration_in_memory


async def test_r22_who_has_the_account_is_found_and_who_had_it_is_not() -> None:
    use_cases = registration_in_memory()
    account = FoundAccount(
        "acc-jan", "jan", "jan@example.org", GRONINGEN, person_ref(PERSON_REF_KEY, GRONINGEN, CARD)
    )
    use_cases.accounts.by_name["jan", GRONINGEN] = account
    guest_id = await use_cases.register(account=ExistingAccount("acc-jan"))

    async def found(username: str, organisation: str = "1001") -> list[object]:
        context = use_cases.context(organisation)
        return [*await find_guests_of_account(username, GRONINGEN, context, use_cases.deps)]

    assert await found("jan") == [guest_id]
    assert await found("jan", "2002") == []
    assert await found("piet") == []
    await use_cases.deregister(guest_id)
    assert await found("jan") == []
    lookups = use_cases.deps.lookups
    assert isinstance(lookups, InMemoryLookups)
    made = [lookup for _, lookup in lookups.recorded if lookup.kind is LookupKind.GUESTS]
    assert [(each.what, each.outcome, list(each.guest_ids)) for each in made] == [
        ("jan", "found", [guest_id]),
        ("jan", "none", []),
        ("piet", "none", []),
        ("jan", "none", []),
    ]
