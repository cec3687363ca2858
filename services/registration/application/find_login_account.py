"""Find a login account by its username at the home library (R17)."""

from __future__ import annotations

from dataclasses import dataclass

from registration.application.dependencies import Context, Dependencies, FoundAccount
from registration.application.membership import current_isil


@dataclass(frozen=True, slots=True)
class AccountOnOffer:
    """A found account, and the handle by which this clerk can choose it."""

    account: FoundAccount
    handle: str


async def find_login_account(
    username: str, home_isil: str, context: Context, deps: Dependencies
) -> AccountOnOffer | None:
    """Find by exact username. Raises MalformedIsil, LoginAccountsUnavailable."""
    home = current_isil(home_isil, deps)
    found = await deps.login_accounts.find(username, str(home))
    return None if found is None else AccountOnOffer(found, deps.account_handles.seal(found, context))
