"""Find a login account by its username at the home library (R17)."""

from __future__ import annotations

from dataclasses import dataclass

from registration.application.dependencies import Context, Dependencies, FoundAccount, LookupKind
from registration.application.looking_up import looking_up
from registration.application.membership import current_isil, merged_into
from shared.kernel.library_card import Isil


@dataclass(frozen=True, slots=True)
class AccountOnOffer:
    """A found account, and the handle by which this clerk can choose it."""

    account: FoundAccount
    handle: str


async def find_login_account(
    username: str, home_isil: str, context: Context, deps: Dependencies
) -> AccountOnOffer | None:
    """Find by exact username, at the home library first, then at those that merged into it (I10).

    Raises MalformedIsil, LoginAccountsUnavailable, TooManyLookups.
    """
    home = current_isil(home_isil, deps)
    async with looking_up(LookupKind.LOGIN_ACCOUNT, username, context, deps, home_isil=str(home)) as lookup:
        found = await account_named(username, home, deps)
        lookup.outcome = "found" if found else "none"
        lookup.account_id = found.account_id if found else None
    return None if found is None else AccountOnOffer(found, deps.account_handles.seal(found, context))


async def account_named(username: str, home: Isil, deps: Dependencies) -> FoundAccount | None:
    """Return the account with this username at this present ISIL, or at one that merged into it (I10).

    The caller records the look-up. Raises LoginAccountsUnavailable.
    """
    for isil in (str(home), *merged_into(home, deps)):
        if (found := await deps.login_accounts.find(username, isil)) is not None:
            return found
    return None
