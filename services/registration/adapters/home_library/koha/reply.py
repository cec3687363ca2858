"""What a home library says about a card in Koha: from the bytes of a list of patrons to a verdict (R4, R23).

docs/home-libraries.md is the same as a table for people.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from registration.adapters.home_library.errors import (
    GarbledReply,
    IgnoresTheCard,
    NamesNobody,
    NamesSeveral,
    NoMembership,
)
from registration.adapters.home_library.patron import (
    LONGEST_ADDRESS,
    LONGEST_EMAIL,
    LONGEST_NAME,
    end_date,
    is_guest_type,
    is_name,
    text_of,
)
from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.sip2.messages import plain_words
from registration.adapters.home_library.words import KOHA_BLOCKS
from registration.domain.verdict import EndsOn, NotFound, PatronDetails, Reason, Refused, Valid
from shared.platform.http_client import read_json

_REASONS = {"patron_card_lost": Reason.CARD_LOST}
"""What refuses for another reason than BLOCKED."""


class Asked(NamedTuple):
    """The question. `today`: in Europe/Amsterdam."""

    card_number: str
    today: date


def read_reply(data: bytes, library: Library, asked: Asked) -> Valid | Refused | NotFound:
    """Return what a reply says. Every other outcome is *unavailable*, with a reason.

    The card is compared here: a server that ignores the filter, and sends everybody or another patron, is
    not believed. Raises GarbledReply when the reply does not say what R23 asks for.
    """
    patrons = _list_in(data)
    if not patrons:
        return NotFound()
    if any(_text(patron, "cardnumber").casefold() != asked.card_number.casefold() for patron in patrons):
        raise IgnoresTheCard
    if len(patrons) > 1:
        raise NamesSeveral
    return _verdict(patrons[0], library, asked)


def _list_in(data: bytes) -> list[Mapping[str, Any]]:
    try:
        patrons = read_json(data)
    except ValueError:
        raise GarbledReply from None
    if not isinstance(patrons, list) or not all(isinstance(patron, dict) for patron in patrons):
        raise GarbledReply
    return patrons


def _verdict(patron: Mapping[str, Any], library: Library, asked: Asked) -> Valid | Refused:
    """Only an end date in the past is an end. `expired` without one is a block, as all marks are."""
    name = text_of(_name(patron), LONGEST_NAME)
    if not is_name(name, (asked.card_number,), library):
        raise NamesNobody
    if not {"restricted", "expiry_date"} <= patron.keys():
        raise NoMembership
    reasons = [
        _REASONS.get(key, Reason.BLOCKED)
        for words, key in KOHA_BLOCKS.items()
        if _flag(patron, key) and words not in library.harmless_blocks
    ]
    details, ends_on = _details(patron, name, library), _end(patron, library)
    has_ended = isinstance(ends_on, date) and ends_on < asked.today
    if has_ended:
        reasons.insert(0, Reason.EXPIRED)
    elif _flag(patron, "expired"):
        reasons.append(Reason.BLOCKED)
    number = _text(patron, "cardnumber")
    if reasons:
        return Refused(tuple(dict.fromkeys(reasons)), has_ended, details, ends_on, number)
    category = _text(patron, "category_id")
    return Valid(details, ends_on, number, is_guest_type(category, library))


def _text(patron: Mapping[str, Any], key: str) -> str:
    """Return a text; empty if there is none. Raises GarbledReply for anything else than a text."""
    value = patron.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise GarbledReply
    return value.strip()


def _flag(patron: Mapping[str, Any], key: str) -> bool:
    value = patron.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise GarbledReply
    return value


def _end(patron: Mapping[str, Any], library: Library) -> EndsOn:
    text = _text(patron, "expiry_date")
    return end_date(text, library) if text else None


def _name(patron: Mapping[str, Any]) -> str:
    """Return the name. Only one with a word in the surname is a name: it is what Koha demands."""
    surname = _text(patron, "surname")
    given = _text(patron, "firstname") or _text(patron, "initials")
    return _joined(" ", given, surname) if plain_words(surname) else ""


def _details(patron: Mapping[str, Any], name: str, library: Library) -> PatronDetails:
    birth_date = _text(patron, "date_of_birth")
    address = _joined(
        ", ",
        _joined(" ", _text(patron, "address"), _text(patron, "street_number")),
        _text(patron, "address2"),
        _joined(" ", _text(patron, "postal_code"), _text(patron, "city")),
        _text(patron, "state"),
        _text(patron, "country"),
    )
    return PatronDetails(
        name=name,
        birth_date=library.read_date(birth_date) if birth_date else None,
        address=text_of(address, LONGEST_ADDRESS) or None,
        email=text_of(_text(patron, "email"), LONGEST_EMAIL) or None,
    )


def _joined(between: str, *texts: str) -> str:
    return between.join(filter(None, texts))
