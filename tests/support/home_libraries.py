"""A home library's side of SIP2 over real TCP that answers as a test tells it, and keeps what it was sent.

Written from the standard, without the product's own code: a mistake there must show here.
"""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from tests.support.eventually import eventually

Pieces = Iterable[bytes | None]
Answer = Callable[[bytes], Pieces]
"""From a question (without its CR) to what is written, piece by piece; None: the connection is closed."""

HOST = "127.0.0.1"
LOGGED_IN = b"941"
ON_LINE = b"98YNNNYN03000320250911    1015302.00AONL-070288|BXNNNNYNNNNNNNNNNN|"


class Sip2Host:
    """Gives the answers that `says` lined up for a message code, one each; after them that of `usually`."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[list[bytes]] = []
        """The messages of each connection, in the order in which they were made."""
        self.usually: dict[bytes, Answer] = {b"93": checked(LOGGED_IN), b"99": checked(ON_LINE)}
        self._next: defaultdict[bytes, deque[Answer]] = defaultdict(deque)
        self._writers: set[asyncio.StreamWriter] = set()

    def says(self, code: bytes, *answers: Answer) -> None:
        """The answers to the next messages with this code."""
        self._next[code].extend(answers)

    def questions(self) -> list[bytes]:
        """The patron information requests of all connections."""
        return [message for messages in self.received for message in messages if message[:2] == b"63"]

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    def hang_up(self) -> None:
        """Close every connection without another word."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it."""
        messages: list[bytes] = []
        self.received.append(messages)
        self._writers.add(writer)
        try:
            while line := await reader.readuntil(b"\r"):
                messages.append(line.strip(b"\r\n"))
                for piece in self._answer_to(messages[-1]):
                    if piece is None:
                        return
                    writer.write(piece)
                    await asyncio.sleep(0)  # the client reads this piece before the next is sent
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed it
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer_to(self, message: bytes) -> Pieces:
        lined_up = self._next[message[:2]]
        return (lined_up.popleft() if lined_up else self.usually[message[:2]])(message)


@asynccontextmanager
async def sip2_host(
    host: Sip2Host, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Sip2Host]:
    """Lets it listen while the context lasts, with TLS if it is given; port 0 means any free one."""
    server = await asyncio.start_server(host.serve, HOST, port, ssl=tls)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        host.hang_up()
        await eventually(lambda: host.open_connections == 0)


def checked(text: bytes) -> Answer:
    """With the sequence digit of the question, and a checksum."""
    return lambda question: [with_checksum(text, question)]


def plain(text: bytes) -> Answer:
    """As a library answers that sends no checksums."""
    return lambda _question: [text + b"\r"]


def in_pieces(answer: Answer, size: int = 1) -> Answer:
    """The same bytes, so many at a time."""

    def pieces(question: bytes) -> Pieces:
        whole = b"".join(piece for piece in answer(question) if piece)
        return [whole[at : at + size] for at in range(0, len(whole), size)]

    return pieces


def damaged(text: bytes) -> Answer:
    """One bit fell over on the way."""
    return lambda question: [with_checksum(text, question).replace(b"|AE", b"|AD", 1)]


def silence(_question: bytes) -> Pieces:
    """No answer at all; the connection stays."""
    return []


def hang_up(_question: bytes) -> Pieces:
    """The connection closes without an answer."""
    return [None]


def with_checksum(text: bytes, question: bytes) -> bytes:
    """A whole message that answers the question: `AY`, its digit, `AZ`, two's complement of the byte sum."""
    at = question.rfind(b"AY")
    data = text + b"AY" + question[at + 2 : at + 3] + b"AZ"
    return data + b"%04X\r" % (-sum(data) & 0xFFFF)
