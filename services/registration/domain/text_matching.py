"""Names and addresses as plain words, so that capitals, accents and layout make no difference.

Words stay in their own script: `Ольга` is not `Olga`. No library is used: Unidecode and AnyASCII write all
scripts in Latin letters, and then two different names can be one.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import chain

from registration.domain.verdict import PatronDetails
from shared.kernel.text import without_unseen

LONGEST_WORD = 100
"""Characters. What follows them does not count: an index of the database takes no value of any length."""
_SIGN = re.compile(r"[\W_]")
_POSTAL_CODE = re.compile(r"\b(\d{4})\s+([a-z]{2})\b")
_INFIXES = frozenset(
    {
        *("aan", "bij", "d", "de", "del", "della", "den", "der", "di", "du", "el", "het", "in", "la", "le"),
        *("op", "t", "te", "ten", "ter", "van", "von"),
    }
)


def words_of(text: str) -> list[str]:
    """Return the words of a text, without repeats: `Élise Brûlé-Jansen` -> elise, brule, jansen."""
    return list(dict.fromkeys(_words(text)))


def joined_words_of(text: str) -> list[str]:
    """Return the words that signs divide, written as one: `Mary-Ann d'Arc` -> maryann, darc."""
    parts = [_words(part) for part in text.split()]
    return list(dict.fromkeys("".join(words)[:LONGEST_WORD] for words in parts if len(words) > 1))


def surname_of(name: str) -> tuple[str, ...]:
    """Return the surname without infixes: `J. van den Berg` and `Berg, J. van den` -> berg.

    Of a double name without a hyphen (`Jan Bakker Schut`) only the last word is returned. Empty: none found.
    """
    family, comma, _ = name.partition(",")
    parts = [_words(part) for part in family.split()]
    words = list(chain.from_iterable(parts if comma else _after_given_names(parts)))
    while len(words) > 1 and words[0] in _INFIXES:
        del words[0]
    return tuple(words)


def address_of(text: str) -> tuple[str, ...]:
    """Return street, number, postal code and town, in their order. `9301 AA` equals `9301AA`."""
    return tuple(_POSTAL_CODE.sub(r"\1\2", _plain(text)).split())


def _after_given_names(parts: list[list[str]]) -> list[list[str]]:
    """Return the parts from the first infix on; without an infix, the last word that is not an initial."""
    names = [words for words in parts if any(len(word) > 1 for word in words)]
    for number, words in enumerate(names[:-1]):
        if len(words) == 1 and words[0] in _INFIXES:
            return names[number:]
    return names[-1:]


def _words(text: str) -> list[str]:
    return [word[:LONGEST_WORD] for word in _plain(text).split()]


def _plain(text: str) -> str:
    """Return text in small letters without diacritics, with spaces in the place of signs."""
    if text.isascii():
        return _SIGN.sub(" ", text.lower())
    folded = unicodedata.normalize("NFKD", without_unseen(text)).casefold()
    return "".join(_plain_letter(c) for c in unicodedata.normalize("NFKD", folded))


_LIKE = {
    "æ": "ae",
    "œ": "oe",
    "þ": "th",
    "ð": "d",
    "ı": "i",
    "ȷ": "j",
    "ŋ": "n",
    "ĸ": "k",
    "ə": "e",
    "ǝ": "e",
    "ɛ": "e",
    "ɔ": "o",
    "ɪ": "i",
    "ʊ": "u",
    "ی": "ي",
    "ى": "ي",
    "ک": "ك",  # of Persian and of Arabic keyboards
    "\u0640": "",  # a stroke that only makes Arabic words longer
}
"""Letters that have no parts in Unicode, and what people type for them."""
_LETTERS_AS_MARKS = frozenset({0, 7, 8, 9})
"""Combining classes of marks that make another letter: vowel signs, and signs of India and Japan."""


@cache
def _plain_letter(character: str) -> str:
    """Return a letter or digit without its diacritic, a space for a sign, and nothing for a diacritic.

    A letter with a stroke or a hook has no parts either, but has them in its name: ł is LATIN SMALL
    LETTER L WITH STROKE.
    """
    if (like := _LIKE.get(character)) is not None:
        return like
    category = unicodedata.category(character)
    if category.startswith("M"):
        return character if unicodedata.combining(character) in _LETTERS_AS_MARKS else ""
    if category == "Lm" and "\u02b0" <= character <= "\u02ff":  # apostrophes that count as letters
        return " "
    if category[0] not in "LN":
        return " "
    letter, _, diacritic = unicodedata.name(character, "").partition(" WITH ")
    try:
        return unicodedata.lookup(letter) if diacritic else character
    except KeyError:
        return character


def same_name_birth_date_address(one: PatronDetails, other: PatronDetails) -> bool:
    """Return whether surname, birth date and address are known and equal, all three (R18, R28)."""
    shown = what_shows_a_person(one)
    return shown is not None and shown == what_shows_a_person(other)


def what_shows_a_person(details: PatronDetails) -> tuple[object, ...] | None:
    """Return surname, birth date and address, as they are compared; None unless all three are known."""
    surname, address = surname_of(details.name), address_of(details.address or "")
    if not surname or not address or details.birth_date is None:
        return None
    return surname, details.birth_date, address
