"""Find a login account by its username at a home library (I1)."""

from __future__ import annotations

from identity.application.dependencies import AccountDetails, Identity
from identity.application.repository import details_of, own_account
from identity.application.usernames import plain_username, username_key


async def find_login_account(username: str, home_isil: str, identity: Identity) -> AccountDetails | None:
    """Exactly one hit or none: here, else in the directory; e-mail addresses never decide (I1).

    Raises MalformedIsil, MalformedUsername, DirectoryUnavailable.
    """
    holder = await identity.usernames.account_of(username_key(username, home_isil, identity))
    if holder is None:
        return await identity.directory.by_username(plain_username(username), home_isil)
    at_hand = await own_account(holder, identity)
    return None if at_hand is None else await details_of(at_hand.account, identity)
