"""A home library that sends without end is cut off after a few bytes, whenever it begins (R4)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries, home_libraries
from registration.adapters.home_library.settings import Directory
from registration.adapters.home_library.sip2.framing import LONGEST_REPLY, FrameReader
from registration.adapters.home_library.wire import Wire
from registration.bootstrap import home_library_http
from registration.domain.verdict import Unavailable, Valid
from tests.integration.home_library.conftest import CREDENTIALS, ISIL
from tests.integration.home_library.test_replies import text_of
from tests.support.eventually import eventually
from tests.support.home_libraries import (
    LOGGED_IN,
    ON_LINE,
    Authority,
    Sip2Host,
    checked,
    make_authority,
    with_checksum,
)
from tests.unit.registration.adapters.home_library.sip2.reading import CARD, TODAY, library

VALID = text_of("valid")
PIECE = 64 * 1024
MOST_SENT = 64 * 1024 * 1024
"""What a flood sends when nothing stops it; the buffers of the network hold a tenth of it at most."""
NAME = "sip.library.example"
REPLIES = {b"93": LOGGED_IN, b"99": ON_LINE, b"63": VALID}
FLOODS = {
    "no end": b"6" * PIECE,
    "replies": (VALID + b"\r") * (PIECE // len(VALID)),
    "line ends": b"\r\n" * (PIECE // 2),
    "zeros": b"\0" * PIECE,
}


class Flood:
    """A library that answers up to the message `after`, and then sends without end. b"": from the start."""

    def __init__(self, after: bytes, answers_first: bool, flood: bytes) -> None:
        self.after, self.answers_first, self.flood = after, answers_first, flood
        self.port = 0
        self.connections = self.ended = self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.after:
                await self.talk(reader, writer)
            while self.sent < MOST_SENT:
                writer.write(self.flood)
                await writer.drain()
                self.sent += len(self.flood)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended += 1
        finally:
            writer.transport.abort()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            question = (await reader.readuntil(b"\r")).strip(b"\r\n")
            last = question[:2] == self.after
            if not last or self.answers_first:
                writer.write(with_checksum(REPLIES[question[:2]], question))
            if last:
                return


@asynccontextmanager
async def flooding(flood: Flood, authority: Authority | None = None) -> AsyncIterator[DirectoryHomeLibraries]:
    tls = authority.server(NAME) if authority else None
    server = await asyncio.start_server(flood.serve, "127.0.0.1", 0, ssl=tls)
    flood.port = server.sockets[0].getsockname()[1]
    secured: dict[str, Any] = (
        {"tls": True, "tls_ca_file": authority.file, "tls_server_name": NAME} if authority else {}
    )
    settings = library(port=flood.port, institution=ISIL, connect_seconds=10, answer_seconds=20, **secured)
    libraries = home_libraries(
        Directory({ISIL: settings}, {ISIL: CREDENTIALS}, {}), home_library_http, lambda: TODAY
    )
    async with server:
        yield libraries
        await libraries.close()


@pytest.fixture
def most_kept(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The most bytes that a connection kept after one read."""
    kept = [0]
    receive = Wire.data_received

    def watched(wire: Wire, data: bytes) -> None:
        receive(wire, data)
        assert isinstance(wire._frames, FrameReader)
        kept.append(len(wire._frames._buffer))

    monkeypatch.setattr(Wire, "data_received", watched)
    return lambda: max(kept)


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize(
    ("after", "answers_first"),
    [(b"", False), (b"93", False), (b"99", False), (b"63", False), (b"63", True)],
    ids=["at the start", "at the login", "at the status", "at the question", "after the reply"],
)
async def test_r4_a_flood_is_cut_off(
    *,
    after: bytes,
    answers_first: bool,
    kind: str,
    secured: bool,
    most_kept: Callable[[], int],
    tmp_path: Path,
) -> None:
    flood = Flood(after, answers_first, FLOODS[kind])
    async with flooding(flood, make_authority(tmp_path) if secured else None) as libraries:
        verdict = await libraries.ask(ISIL, CARD)
        await eventually(lambda: flood.connections == flood.ended)
    assert isinstance(verdict, Valid if answers_first else Valid | Unavailable)
    assert flood.sent < MOST_SENT
    assert most_kept() <= LONGEST_REPLY


@pytest.mark.parametrize("unasked", [b"6", VALID + b"\r"])
async def test_r4_what_was_not_asked_for_ends_an_idle_connection(
    host: Sip2Host, libraries: DirectoryHomeLibraries, unasked: bytes
) -> None:
    host.usually[b"63"] = checked(VALID)
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    host.say_unasked(b"\r\n")
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    assert len(host.received) == 1
    host.say_unasked(unasked)
    await eventually(lambda: host.open_connections == 0)
    assert isinstance(await libraries.ask(ISIL, CARD), Valid)
    assert len(host.received) == 2
