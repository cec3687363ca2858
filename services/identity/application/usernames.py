"""How a username is compared and kept: never in the clear outside the seal."""

from __future__ import annotations

import hashlib
import hmac
import unicodedata

from identity.application.dependencies import Dependencies
from identity.domain.errors import MalformedUsername
from shared.kernel.library_card import isil_base

_LONGEST = 200


def plain_username(username: str) -> str:
    """The username as it is kept: trimmed, composed (NFC). Raises MalformedUsername."""
    plain = unicodedata.normalize("NFC", username.strip())
    if not 0 < len(plain) <= _LONGEST or any(unicodedata.category(each) == "Cc" for each in plain):
        raise MalformedUsername
    return plain


def username_key(username: str, home_isil: str, deps: Dependencies) -> str:
    """What the index holds: an HMAC of the library and the username, capitals or not."""
    named = f"username|{isil_base(home_isil)}|{plain_username(username).casefold()}"
    return hmac.new(deps.person_ref_key, named.encode(), hashlib.sha256).hexdigest()


async def username_taken(username: str, home_isil: str, account_id: str, deps: Dependencies) -> bool:
    """Whether an account here has it, or another one in the directory. Raises DirectoryUnavailable."""
    if await deps.usernames.account_of(username_key(username, home_isil, deps)) is not None:
        return True
    listed = await deps.directory.by_username(username, home_isil)
    return listed is not None and listed.account_id != account_id
