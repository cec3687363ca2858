"""From bytes off the wire to a verdict, as the product does it, without a network."""

from datetime import date

from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.sip2.framing import FrameReader
from registration.adapters.home_library.sip2.messages import Expected
from registration.adapters.home_library.sip2.reply import Asked, read_reply
from registration.domain.verdict import NotFound, Refused, Valid

TODAY = date(2025, 9, 11)
CARD = "0990139305"
ALONE = Expected()
"""No sequence number was sent, and no checksum came before."""


def library(encoding: str = "cp850", **changed: object) -> Library:
    """A library with the end in PA, the birth date in PB, the patron type in PC."""
    return Library.model_validate(
        {
            "host": "127.0.0.1",
            "port": 6001,
            "encoding": encoding,
            "expiry_field": "PA",
            "birth_date_field": "PB",
            "patron_type_field": "PC",
            "guest_patron_types": {"GAST"},
            **changed,
        }
    )


def read_one(line: bytes, settings: Library, expected: Expected = ALONE) -> Valid | Refused | NotFound:
    """The verdict of one reply, asked for over a connection of its own. Raises GarbledReply."""
    return read_reply(line, settings, Asked(CARD, TODAY, expected, alone=True))


def verdicts(pieces: list[bytes], encoding: str) -> list[Valid | Refused | NotFound]:
    """The verdict of every reply in what arrives piece by piece. Raises GarbledReply."""
    reader = FrameReader()
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (frame := reader.next()) is not None:
            found.append(read_one(frame, library(encoding)))
    assert reader.is_empty
    return found
