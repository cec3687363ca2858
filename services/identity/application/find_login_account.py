"""Find a login account by its username at a home library (I1)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from identity.application.dependencies import AccountDetails, Dependencies, DirectoryUnavailable
from identity.application.repository import (
    account_named,
    details_of,
    find_account,
    person_of,
    plain_username,
    username_keys,
)
from shared.kernel.text import comparable


@dataclass(frozen=True, slots=True)
class FoundAccount:
    """An account, and the person whose home card it is on. Username and e-mail are personal data."""

    account_id: str
    username: str
    email: str
    home_isil: str
    person_ref: str


async def find_login_account(username: str, home_isil: str, deps: Dependencies) -> FoundAccount | None:
    """Find the one account with this username, in identity's own store or in the directory.

    When the directory lists the account that was known by it under another username today, its own hit
    counts. While it cannot be asked, the own store does. An e-mail address never finds an account (I1).
    Raises MalformedIsil, MalformedUsername, DirectoryUnavailable.
    """
    holder = await account_named(username, home_isil, deps)
    if holder is None or await _was_renamed(holder, username, deps):
        listed = await deps.directory.by_username(plain_username(username), home_isil)
        return _found(listed, person_of(listed, deps)) if listed else None
    loaded = await find_account(holder, deps)
    details = await details_of(loaded.account, deps) if loaded else None
    return _found(details, loaded.account.person_ref) if loaded and details else None


async def _was_renamed(account_id: str, username: str, deps: Dependencies) -> bool:
    """Return whether the directory lists this account, and not under this username any more.

    At another library, as after a merger, it is the same account still.
    """
    try:
        listed = await deps.directory.by_id(account_id)
    except DirectoryUnavailable:
        return False
    return listed is not None and comparable(listed.username) != comparable(plain_username(username))


def _found(details: AccountDetails, person: str) -> FoundAccount:
    return FoundAccount(details.account_id, details.username, details.email, details.home_isil, person)


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
