"""Card numbers: what counts as one (R1), and which digits tell the home library (R2)."""

import re

from registration.domain.errors import MalformedCardNumber

_CARD_NUMBER = re.compile(r"[0-9A-Za-z]{1,20}")
_PREFIX = re.compile(r"[0-9]{4}")


def canonical_card_number(text: str) -> str:
    """The card number in `text`, leading zeros kept (R1).

    Only spaces are trimmed: a CR, a tab or any other control character at the edge is refused, not forgiven,
    because the number goes into a line protocol. Raises MalformedCardNumber.
    """
    card_number = text.strip(" ")
    if _CARD_NUMBER.fullmatch(card_number) is None:
        raise MalformedCardNumber
    return card_number


def prefix_readings(card_number: str) -> tuple[str, ...]:
    """The prefixes under which this card may stand in the ISIL table (R2), without repeats.

    Digits 2-5 first; then digits 1-4, for cards that have no leading digit. Nobody can tell from the card
    which of the two it is, so both are looked up. A reading that is not four digits cannot be in the table.
    """
    readings = (card_number[1:5], card_number[0:4])
    return tuple(dict.fromkeys(reading for reading in readings if _PREFIX.fullmatch(reading)))


def is_prefix(text: str) -> bool:
    """Whether `text` has the form of a card prefix: four digits (R2)."""
    return _PREFIX.fullmatch(text) is not None
