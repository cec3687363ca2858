"""How usernames are compared and stored. Outside encrypted fields only an HMAC of a username is stored."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata

from identity.application.dependencies import Dependencies
from identity.domain.errors import MalformedUsername
from shared.kernel.library_card import isil_base

_MAX_CHARACTERS = 200


def plain_username(username: str) -> str:
    """Return the username as it is stored: trimmed, in Unicode form NFC. Raises MalformedUsername."""
    plain = unicodedata.normalize("NFC", username.strip())
    if not 0 < len(plain) <= _MAX_CHARACTERS or any(
        unicodedata.category(character) == "Cc" for character in plain
    ):
        raise MalformedUsername
    return plain


def username_key(username: str, home_isil: str, deps: Dependencies) -> str:
    """Return a username's key in the index: HMAC-SHA-256 of ISIL base and username, 64 hexadecimal digits.

    Upper and lower case result in the same key. Raises MalformedIsil, MalformedUsername.
    """
    named = f"username|{isil_base(home_isil)}|{plain_username(username).casefold()}"
    return hmac.new(deps.person_ref_key, named.encode(), hashlib.sha256).hexdigest()


async def username_taken(username: str, home_isil: str, account_id: str, deps: Dependencies) -> bool:
    """Return whether an account here has the username, or another account in the directory has it.

    Raises DirectoryUnavailable.
    """
    if await deps.usernames.account_of(username_key(username, home_isil, deps)) is not None:
        return True
    listed = await deps.directory.by_username(username, home_isil)
    return listed is not None and listed.account_id != account_id
