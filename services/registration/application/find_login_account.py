"""Find a login account by its username at the home library (R17)."""

from __future__ import annotations

from registration.application.dependencies import Dependencies, FoundAccount
from registration.application.membership import current_isil


async def find_login_account(username: str, home_isil: str, deps: Dependencies) -> FoundAccount | None:
    """Find by exact username. Raises MalformedIsil, LoginAccountsUnavailable."""
    home = current_isil(home_isil, deps)
    return await deps.login_accounts.find(username, str(home))
