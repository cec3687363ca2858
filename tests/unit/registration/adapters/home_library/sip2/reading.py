"""From bytes off the wire to a verdict, as the product does it, without a network."""

from datetime import date

from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.sip2.client import verdict_of
from registration.adapters.home_library.sip2.framing import FrameReader, open_frame
from registration.adapters.home_library.sip2.messages import read_patron_reply
from registration.domain.verdict import NotFound, Refused, Valid

TODAY = date(2025, 9, 11)
CARD = "0990139305"


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


def read_one(line: bytes, settings: Library) -> Valid | Refused | NotFound:
    """The verdict of one reply without a checksum. Raises GarbledReply."""
    return verdict_of(read_patron_reply(open_frame(line, settings.encoding).text), settings, TODAY)


def verdicts(pieces: list[bytes], encoding: str) -> list[Valid | Refused | NotFound]:
    """The verdict of every reply in what arrives piece by piece. Raises GarbledReply."""
    reader = FrameReader()
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (frame := reader.next()) is not None:
            reply = read_patron_reply(open_frame(frame, encoding).text)
            found.append(verdict_of(reply, library(encoding), TODAY))
    assert reader.is_empty
    return found
