"""What the texts about a patron mean, in every protocol: a name, no name, an end date, no end (R23)."""

import re
from collections.abc import Iterable

from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.sip2.messages import plain_words
from registration.adapters.home_library.words import BETWEEN, NOT_KNOWN, WHO_IS_NOT_KNOWN
from registration.domain.verdict import UNREADABLE, EndsOn
from shared.kernel.text import tidy

LONGEST_NAME, LONGEST_ADDRESS, LONGEST_EMAIL = 200, 500, 254
"""Characters. An index of the guest directory holds the name, and takes no row of some thousand bytes."""

_LOST_LETTER = re.compile(r"\ufffd|\?\?")
"""What systems put in the place of letters that they cannot write."""

_PLAIN_NAME = re.compile(r"([^\W\d_]+)(?:[^\w|][^\d|]*)?")
_DIGIT = re.compile(r"\d")


def text_of(value: str, longest: int) -> str:
    """Return a text as it is stored: tidy, on one line, with at most so many characters."""
    return tidy(value).strip()[:longest]


def is_name(name: str, card_numbers: Iterable[str], library: Library) -> bool:
    """Return whether a name is one: not empty, no signs only, not the card's number, no word for nobody.

    A separator within the name ends what is looked at: text behind it alone is no name.
    """
    plain = _PLAIN_NAME.fullmatch(name)
    first = plain[1] if plain else ""
    if first.isalpha() and first.casefold() not in library.first_words_of_unknown_names:
        return True  # as almost all names, and this is faster
    name = name.partition("|")[0]
    words = plain_words(name)
    if not _says_a_name(name) or names_nobody(words, library):
        return False
    if _DIGIT.search(name) is None:
        return True
    for number in card_numbers:
        words = re.sub(rf"\b0*{re.escape(plain_words(number).lstrip('0'))}\b", "", words)
    words = " ".join(words.split())
    return not names_nobody(words, library) and _says_a_name(words)


def names_nobody(words: str, library: Library) -> bool:
    """Return whether plain words say that the library does not know this patron (R23)."""
    said = set(words.split())
    if words in library.unknown_names or (said and said <= library.unknown_names):
        return True
    says_so = not said.isdisjoint(NOT_KNOWN) and not said.isdisjoint(WHO_IS_NOT_KNOWN)
    return says_so and said <= NOT_KNOWN | WHO_IS_NOT_KNOWN | BETWEEN


def is_guest_type(kind: str, library: Library) -> bool:
    """Return whether a type of patron is one of guests (R11). Systems write one type in several ways."""
    return _plain_type(kind) in map(_plain_type, library.guest_patron_types)


def _plain_type(kind: str) -> str:
    return " ".join(kind.casefold().split())


def _says_a_name(text: str) -> bool:
    """Return whether there is a letter: raised digits, Roman numerals and other numbers are none."""
    return any(map(str.isalpha, text)) or _LOST_LETTER.search(text) is not None


def end_date(text: str, library: Library) -> EndsOn:
    """Return the last day that a text means; None for a word or a day for no end (R12)."""
    day = library.read_date(text)
    if day is None:
        return None if _means_no_end(plain_words(text), library) else UNREADABLE
    return None if day in library.days_without_end else day


def _means_no_end(words: str, library: Library) -> bool:
    """Return whether these are words for no end. A time of zeros may follow zeros."""
    return words in library.no_end or (
        not words.strip(" 0") and any(words.startswith(f"{zeros} 0") for zeros in library.no_end)
    )
