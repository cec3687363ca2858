"""Login accounts: ids of the account provider (I1), the grammar of new accounts (R17), referrals (I12).

An account that exists already has whatever username and e-mail address its library gave it.
"""

import unicodedata
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from shared.kernel.text import tidy

# The characters that RFC 3986 allows in one segment of a path, without `%`. An id of dots only would name
# another resource there.
_PATTERN = r"^\.*[!$&'()*+,\-0-9:;=@A-Z_a-z|~][!$&'()*+,\-.0-9:;=@A-Z_a-z|~]*$"

AccountId = Annotated[str, Field(min_length=1, max_length=200, pattern=_PATTERN)]
"""1 to 200 letters, digits and `! $ & ' ( ) * + , - . : ; = @ _ | ~`; not only dots."""

MOST_NAMED = 100
"""So many accounts are named in one question to identity."""
MOST_LIBRARIES = 2000
"""A username is looked for at so many home libraries in one question to identity."""

_READER: TypeAdapter[str] = TypeAdapter(AccountId)


REFERRALS = "referrals from catalogues to the counter"
"""The purpose of the key under which referrals are sealed, and bound to an organisation."""


@dataclass(frozen=True, slots=True)
class Referral:
    """A catalogue sent the patron with this account to the counter (I12).

    `return_to`: where the patron goes on at the catalogue, from the settings; None: nowhere.
    """

    account_id: str
    return_to: str | None


def is_account_id(text: str) -> bool:
    """Return whether this is the id of a login account."""
    try:
        _READER.validate_python(text)
    except ValidationError:
        return False
    return True


LONGEST_USERNAME = 200
_BETWEEN = frozenset("._-+@'\u200c\u200d")  # the joiners are where a script needs them: `tidy` removes others


def new_username(typed: str) -> str:
    """Return the username of a new account as it is stored: tidied and trimmed.

    Letters and digits of any script, and between them `. _ - + @ '`: no spaces, no signs of a markup. Raises
    ValueError.
    """
    name = tidy(typed.strip()).strip()
    if not 0 < len(name) <= LONGEST_USERNAME:
        raise ValueError(f"must have 1 to {LONGEST_USERNAME} characters")
    if not all(_is_of_a_word(c) or c in _BETWEEN for c in name):
        raise ValueError("must have letters and digits only, and . _ - + @ ' between them")
    if name[0] in _BETWEEN or name[-1] in _BETWEEN:
        raise ValueError("must begin and end with a letter or a digit")
    return name


def _is_of_a_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LAST_LABEL = r"[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"

Email = Annotated[
    str, Field(max_length=254, pattern=rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LAST_LABEL}$")
]
"""An address to which mail can be sent over the internet: a dot-atom (RFC 5322, section 3.4.1) at a host name
of at least two labels (RFC 1123, section 2.1); no comments, quotes or addresses of a local network."""
