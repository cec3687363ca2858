"""Ids of login accounts, as the account provider gives them (I1), and the referrals that name one (I12)."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

# The characters that RFC 3986 allows in one segment of a path, without `%`. An id of dots only would name
# another resource there.
_PATTERN = r"^\.*[!$&'()*+,\-0-9:;=@A-Z_a-z|~][!$&'()*+,\-.0-9:;=@A-Z_a-z|~]*$"

AccountId = Annotated[str, Field(min_length=1, max_length=200, pattern=_PATTERN)]
"""1 to 200 letters, digits and `! $ & ' ( ) * + , - . : ; = @ _ | ~`; not only dots."""

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
