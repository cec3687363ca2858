"""The demo home library's side of SIP2.

It is written from the standard and shares no code with the client in the product. So a mistake in one of them
makes tests fail, instead of being made on both sides.
"""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import cast

from infra.local.configuration import PASSWORD, USERNAME
from infra.local.patrons import DEMO_ISIL, FOUND_FROM_CARD_ISIL, Patron, Patrons, Status, now_in_amsterdam

_ENCODINGS = {DEMO_ISIL: "cp850", FOUND_FROM_CARD_ISIL: "utf-8"}
_TRAILER = re.compile(rb"(?:AY(?P<sequence>\d))?AZ(?P<sum>[0-9A-F]{4})$")
_FLAGS = {Status.FINES: 10, Status.LOST: 4}
_ASK_AGAIN = "96"
_LONGEST_MESSAGE = 16_384  # bytes


class HangUp(Exception):
    """The server closes the connection without a reply."""


class Sip2Server(asyncio.Protocol):
    """One connection. After the login it replies for the library that a request names as institution (AO)."""

    def __init__(self, patrons: Patrons, open_connections: set["Sip2Server"]) -> None:
        self._patrons = patrons
        self._open_connections = open_connections
        self._received = b""
        self._logged_in = False
        self._last_answer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the new connection (asyncio.Protocol)."""
        self._transport = cast("asyncio.Transport", transport)
        self._open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget the closed connection (asyncio.Protocol)."""
        self._open_connections.discard(self)

    def hang_up(self) -> None:
        """Close the connection at once, without a reply."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Reply to every complete message. A client may send several at once, or one in pieces."""
        *messages, self._received = (self._received + data).split(b"\r")
        if self._transport is None:
            return
        if len(self._received) > _LONGEST_MESSAGE:
            self.hang_up()
            return
        try:
            for message in messages:
                if message.strip():
                    self._transport.write(self._reply(message.strip(b"\n")))
        except (HangUp, ValueError, LookupError, OSError):
            self.hang_up()

    def _reply(self, message: bytes) -> bytes:
        if message.startswith(b"97"):
            return self._last_answer
        trailer = _TRAILER.search(message)
        if trailer is None:
            text, encoding = self._answer(message)
            self._last_answer = text.encode(encoding) + b"\r"
            return self._last_answer
        if int(trailer["sum"], 16) != -sum(message[:-4]) & 0xFFFF:
            return _with_checksum(_ASK_AGAIN, "ascii", b"")
        text, encoding = self._answer(message[: trailer.start()])
        sequence = b"" if trailer["sequence"] is None else b"AY" + trailer["sequence"]
        self._last_answer = _with_checksum(text, encoding, sequence)
        return self._last_answer

    def _answer(self, message: bytes) -> tuple[str, str]:
        """Return the text of the reply and its encoding. Raises HangUp when there is no reply."""
        code, text = message[:2], message.decode("cp850")
        if code == b"93":
            fields = _fields(text[4:])
            self._logged_in = (fields.get("CN"), fields.get("CO")) == (USERNAME, PASSWORD)
            return f"94{int(self._logged_in)}", "ascii"
        if code == b"99":
            return f"98YNNNYN030003{_now()}2.00AO{DEMO_ISIL}|AMDemo|BXNNNNYNNNNNNNNNNN|", "ascii"
        if code == b"63" and self._logged_in:
            fields = _fields(text[33:])
            isil = fields["AO"]
            return self._patron(isil, fields["AA"]), _ENCODINGS[isil]
        raise HangUp

    def _patron(self, isil: str, card_number: str) -> str:
        found = self._patrons.find(isil, card_number)
        if found is None:
            return f"64{' ' * 14}005{_now()}{'    ' * 6}AO{isil}|AA{card_number}|AE|BLN|"
        number, patron = found
        if patron.status is Status.SILENT:
            raise HangUp
        return f"64{_status(patron)}005{_now()}{'0000' * 6}AO{isil}|AA{number}|{_about(patron)}"


def _status(patron: Patron) -> str:
    flag = _FLAGS.get(patron.status)
    return "".join("Y" if position == flag else " " for position in range(14))


def _about(patron: Patron) -> str:
    expired = patron.status is Status.EXPIRED
    ends_on = now_in_amsterdam().date() - timedelta(days=1) if expired else patron.ends_on
    fields = {
        "AE": patron.name,
        "BL": "N" if expired else "Y",
        "BD": patron.address,
        "BE": patron.email,
        "PA": f"{ends_on:%Y%m%d}" if ends_on else "",
        "PB": f"{patron.birth_date:%Y%m%d}",
        "PC": "GAST" if patron.status is Status.GUEST else "LID",
        "AF": "" if patron.status is Status.VALID else "Neem contact op met de bibliotheek.",
    }
    return "".join(f"{code}{value}|" for code, value in fields.items() if value)


def _fields(text: str) -> Mapping[str, str]:
    return {part[:2]: part[2:] for part in text.split("|") if part}


def _with_checksum(text: str, encoding: str, sequence: bytes) -> bytes:
    data = text.encode(encoding, errors="replace") + sequence + b"AZ"
    return data + b"%04X\r" % (-sum(data) & 0xFFFF)


def _now() -> str:
    return now_in_amsterdam().strftime("%Y%m%d    %H%M%S")
