"""The home library's card to which a login account belongs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from identity.domain.errors import MalformedCardNumber, MalformedIsil

_ISIL = re.compile(r"NL-\d{6}(\d{4})?", re.ASCII)
_CARD_NUMBER = re.compile(r"[0-9A-Za-z]{1,20}", re.ASCII)
_BASE_LENGTH = len("NL-000000")


def isil_base(isil: str) -> str:
    """The ISIL down to its six digits, on which libraries are compared (R3). Raises MalformedIsil."""
    upper = isil.strip().upper()
    if not _ISIL.fullmatch(upper):
        raise MalformedIsil
    return upper[:_BASE_LENGTH]


@dataclass(frozen=True, slots=True)
class HomeCard:
    """A card of a home library. Personal: it stays sealed; outside it is a `person_ref`."""

    isil: str
    card_number: str

    @classmethod
    def read(cls, isil: str, card_number: str) -> HomeCard:
        """Trimmed and checked (R1, R3). Raises MalformedIsil, MalformedCardNumber."""
        isil_base(isil)
        trimmed = card_number.strip()
        if not _CARD_NUMBER.fullmatch(trimmed):
            raise MalformedCardNumber
        return cls(isil.strip().upper(), trimmed)
