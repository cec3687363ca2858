"""Names and addresses as plain words, so that capitals, accents and layout make no difference."""

from __future__ import annotations

import re
import unicodedata

from shared.kernel.text import without_unseen

_WORD = re.compile(r"[0-9a-z]+")
_POSTAL_CODE = re.compile(r"\b(\d{4})\s+([a-z]{2})\b")
_INFIXES = frozenset(
    {
        *("aan", "bij", "d", "de", "del", "della", "den", "der", "di", "du", "el", "het", "in", "la", "le"),
        *("op", "t", "te", "ten", "ter", "van", "von"),
    }
)


def words_of(text: str) -> list[str]:
    """Return the words of a text, without repeats: `Élise Brûlé-Jansen` -> elise, brule, jansen."""
    return list(dict.fromkeys(_WORD.findall(_plain(text))))


def surname_of(name: str) -> tuple[str, ...]:
    """Return the surname without infixes: `J. van den Berg` and `Berg, J. van den` -> berg.

    Of a double name without a hyphen (`Jan Bakker Schut`) only the last word is returned. Empty: none found.
    """
    family, comma, _ = name.partition(",")
    parts = family.split() if comma else _after_given_names(name.split())
    words = [word for part in parts for word in _WORD.findall(_plain(part))]
    while len(words) > 1 and words[0] in _INFIXES:
        del words[0]
    return tuple(words)


def address_of(text: str) -> tuple[str, ...]:
    """Return street, number, postal code and town, in their order. `9301 AA` equals `9301AA`."""
    return tuple(_WORD.findall(_POSTAL_CODE.sub(r"\1\2", _plain(text))))


def _after_given_names(parts: list[str]) -> list[str]:
    """Return the parts from the first infix on; without an infix, the last word that is not an initial."""
    names = [part for part in parts if any(len(word) > 1 for word in _WORD.findall(_plain(part)))]
    for number, part in enumerate(names[:-1]):
        if _plain(part).strip("'’") in _INFIXES:
            return names[number:]
    return names[-1:]


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", without_unseen(text).casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))
