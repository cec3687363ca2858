"""Replies of Koha from what differs, and what the product reads in them, without a network."""

import json
from collections.abc import Mapping
from typing import Any

from registration.adapters.home_library.errors import NoAnswer
from registration.adapters.home_library.koha.reply import Asked, read_reply
from registration.adapters.home_library.probe import described
from registration.adapters.home_library.settings import Library
from registration.domain.verdict import NotFound, Refused, Valid
from tests.unit.registration.adapters.home_library.sip2.reading import CARD, TODAY

ANNA: dict[str, Any] = {
    "patron_id": 51,
    "cardnumber": CARD,
    "surname": "Voorbeeld",
    "firstname": "Anna",
    "category_id": "VOLW",
    "library_id": "CPL",
    "date_of_birth": "1968-04-17",
    "address": "Brink",
    "street_number": "3",
    "postal_code": "9301 JK",
    "city": "Roden",
    "email": "anna@voorbeeld.nl",
    "expiry_date": "2027-12-31",
    "restricted": False,
    "patron_card_lost": False,
    "incorrect_address": False,
}
"""A patron whose membership runs, with some of the keys that Koha sends."""


def library(**changed: object) -> Library:
    """A library that has Koha."""
    known = {"host": "127.0.0.1", "port": 8080, "protocol": "koha"}
    return Library.model_validate(
        {**known, "username_env": "KOHA_CLIENT", "password_env": "KOHA_SECRET", **changed}
    )


def patrons(*changes: Mapping[str, Any]) -> bytes:
    """A list of patrons: each is Anna with other values; one that is `...` is left out."""
    found = [{**ANNA, **change} for change in changes]
    kept = [{key: value for key, value in patron.items() if value is not ...} for patron in found]
    return json.dumps(kept, ensure_ascii=False).encode()


def read(reply: bytes, settings: Library) -> Valid | Refused | NotFound:
    """The verdict of a reply to the question about CARD. Raises NoAnswer."""
    return read_reply(reply, settings, Asked(CARD, TODAY))


def read_as(reply: bytes, settings: Library) -> str:
    """The same in the words of a probe."""
    try:
        return described(read(reply, settings), TODAY)
    except NoAnswer as failure:
        return f"unavailable: {failure.reason}"
