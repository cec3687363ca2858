"""Many home libraries in one process, as cheap as can be, so that asking and not answering is measured.

    python -m tests.support.sip2_country answers,answers,silent,garbage,closing,slow

prints the ports, in that order, and answers until it is terminated. Written from the standard, without the
product's own code.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable
from datetime import date, timedelta
from typing import cast

import uvloop

FIRST_END = date(2090, 1, 1)
SOON = date(2080, 1, 1)
PAST = date(2020, 1, 1)
SILENT_SECONDS = 30.0
SLOW_SECONDS = 0.2
FIXED = b"00520260101    120000" + b"0000" * 6
FINES = b" " * 10 + b"Y" + b" " * 3
NO_FLAGS = b" " * 14
CHANGING = 50
"""Of so many guests one has another end, one fines, one ended, one is unknown; all others are as before."""


def ends_on(number: int) -> date:
    """When the membership of a card ends."""
    return FIRST_END + timedelta(days=number % 600)


def patron(card: bytes) -> bytes:
    """What a library says about a card."""
    number = int(card[2:])
    flags, end, valid = NO_FLAGS, ends_on(number), b"Y"
    match number % CHANGING:
        case 1:
            end = SOON
        case 2:
            flags = FINES
        case 3:
            end, valid = PAST, b"N"
        case 4:
            return b"64%s%sAO|AA%s|AE|BLN|" % (NO_FLAGS, FIXED, card)
    told = end.strftime("%Y%m%d").encode()
    return b"64%s%sAO|AA%s|AEJ. Jansen|BL%s|PA%s|" % (flags, FIXED, card, valid, told)


class Library(asyncio.Protocol):
    """One connection to a library that answers."""

    def __init__(self) -> None:
        self._rest = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        *messages, self._rest = (self._rest + data).split(b"\r")
        for message in messages:
            self.asked(message)

    def asked(self, message: bytes) -> None:
        """One message, without its end."""
        self.send(self.answer(message), message)

    def answer(self, message: bytes) -> bytes:
        if message.startswith(b"63"):
            at = message.index(b"|AA") + 3
            return patron(message[at : message.index(b"|", at)])
        return b"98YNNNYN03000320250911    1015302.00AO|BXNNNNYNNNNNNNNNNN|"

    def send(self, text: bytes, question: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            data = b"%sAY%cAZ" % (text, question[question.rfind(b"AY") + 2])
            self.transport.write(b"%s%04X\r" % (data, -sum(data) & 0xFFFF))


class Late(Library):
    """Answers, but after this many seconds."""

    seconds = SLOW_SECONDS

    def asked(self, message: bytes) -> None:
        if message.startswith(b"63"):
            asyncio.get_running_loop().call_later(self.seconds, super().asked, message)
        else:
            super().asked(message)


class Brisk(Late):
    """Takes a few milliseconds, as a home library on the network does."""

    seconds = 0.005


class Silent(Late):
    """Nobody waits that long."""

    seconds = SILENT_SECONDS


class Garbage(Library):
    """Answers questions about cards with noise."""

    def answer(self, message: bytes) -> bytes:
        return b"64\xff\xfe%s" % message if message.startswith(b"63") else super().answer(message)


class Closing(Library):
    """Hangs up now and then."""

    def asked(self, message: bytes) -> None:
        if message.startswith(b"63") and random.random() < 0.01 and self.transport is not None:
            self.transport.abort()
        else:
            super().asked(message)


PROBLEM_TYPES: dict[str, Callable[[], Library]] = {
    "answers": Library,
    "brisk": Brisk,
    "slow": Late,
    "silent": Silent,
    "garbage": Garbage,
    "closing": Closing,
}


async def _serve(behaviours: list[str]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(PROBLEM_TYPES[each], "127.0.0.1", 0) for each in behaviours]
    ports = [str(server.sockets[0].getsockname()[1]) for server in servers]
    sys.stdout.write(" ".join(ports) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1].split(",")))
