"""Find a login account by its username at a home library (I1)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from identity.application.dependencies import Dependencies
from identity.application.repository import (
    account_named,
    details_of,
    find_account,
    person_of,
    plain_username,
    username_keys,
)


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """An account, and the person whose home card it is on. Username and e-mail are personal data."""

    account_id: str
    username: str
    email: str
    home_isil: str
    person_ref: str


async def find_login_account(username: str, home_isil: str, deps: Dependencies) -> FoundAccount | None:
    """Find the one account with this username, first in identity's own store, then in the directory.

    An e-mail address never finds an account (I1). Raises MalformedIsil, MalformedUsername,
    DirectoryUnavailable.
    """
    holder = await account_named(username, home_isil, deps)
    if holder is None:
        found = await deps.directory.by_username(plain_username(username), home_isil)
        person = person_of(found, deps) if found else ""
    else:
        loaded = await find_account(holder, deps)
        found = await details_of(loaded.account, deps) if loaded else None
        person = loaded.account.person_ref if loaded else ""
    if found is None:
        return None
    return FoundAccount(found.account_id, found.username, found.email, found.home_isil, person)


async def accounts_with_username(
    username: str, home_isils: Collection[str], deps: Dependencies
) -> Sequence[str]:
    """Return the ids of the accounts here that have this username at one of these home libraries (I1).

    Identity's own accounts only: each account that was ever linked or logged in is one. The directory is not
    asked. Raises MalformedIsil, MalformedUsername.
    """
    keys = [key for isil in home_isils for key in username_keys(username, isil, deps)]
    found = await deps.usernames.holders(keys, ())
    return sorted(set(found.values()))
