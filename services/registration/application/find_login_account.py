"""Find a login account by its username at the home library (R17)."""

from __future__ import annotations

from registration.application.dependencies import FoundAccount, Registration
from registration.application.membership import current_isil


async def find_login_account(
    username: str, home_isil: str, registration: Registration
) -> FoundAccount | None:
    """Find by exact username. Raises MalformedIsil, LoginAccountsUnavailable."""
    home = current_isil(home_isil, registration)
    return await registration.login_accounts.find(username, str(home))
