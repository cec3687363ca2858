"""Find a login account by its username at a home library (I1)."""

from __future__ import annotations

from identity.application.dependencies import AccountDetails, Dependencies
from identity.application.repository import account_named, details_of, find_account, plain_username


async def find_login_account(username: str, home_isil: str, deps: Dependencies) -> AccountDetails | None:
    """Find the one account with this username, first in identity's own store, then in the directory.

    An e-mail address never finds an account (I1). Raises MalformedIsil, MalformedUsername,
    DirectoryUnavailable.
    """
    holder = await account_named(username, home_isil, deps)
    if holder is None:
        return await deps.directory.by_username(plain_username(username), home_isil)
    loaded = await find_account(holder, deps)
    return None if loaded is None else await details_of(loaded.account, deps)
