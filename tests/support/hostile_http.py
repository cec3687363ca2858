"""An HTTP server over real TCP that misbehaves as a test says: it sends without end, drips, or lies."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import repeat

PIECE = 64 * 1024
MOST_SENT = 96 * 1024 * 1024
"""What it sends when nothing stops it: more than any limit and the buffers of the network together."""

Answer = Callable[[str], Iterator[bytes]]
"""From the path of a request to what is written, piece by piece."""

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def json_answer(body: bytes) -> Iterator[bytes]:
    """A whole, honest response."""
    yield OK + b"Content-Length: %d\r\n\r\n" % len(body) + body


def endless_body(_path: str) -> Iterator[bytes]:
    yield OK + b"\r\n["
    yield from repeat(b"1," * (PIECE // 2))


def endless_chunks(_path: str) -> Iterator[bytes]:
    yield OK + b"Transfer-Encoding: chunked\r\n\r\n"
    yield from repeat(b"%x\r\n%s\r\n" % (PIECE, b" " * PIECE))


def announced_body(_path: str) -> Iterator[bytes]:
    yield OK + b"Content-Length: 100000000000\r\n\r\n"
    yield from repeat(b" " * PIECE)


def endless_head(_path: str) -> Iterator[bytes]:
    yield OK
    yield from repeat(b"X-More: %s\r\n" % (b"x" * PIECE))


def endless_line(_path: str) -> Iterator[bytes]:
    yield OK + b"X-More: "
    yield from repeat(b"x" * PIECE)


def endless_refusal(_path: str) -> Iterator[bytes]:
    yield b"HTTP/1.1 404 Not Found\r\n\r\n"
    yield from repeat(b" " * PIECE)


def endless_redirect(_path: str) -> Iterator[bytes]:
    yield b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"
    yield from repeat(b" " * PIECE)


def bomb(_path: str) -> Iterator[bytes]:
    """A hundred kilobytes that unpack into a hundred megabytes."""
    packed = _packed(100_000_000)
    yield OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed


@cache
def _packed(size: int) -> bytes:
    return gzip.compress(b" " * size)


def nested(_path: str) -> Iterator[bytes]:
    """Valid JSON that is nested more deeply than a parser that calls itself can follow."""
    yield from json_answer(b"[" * 200_000 + b"]" * 200_000)


FLOODS: tuple[Answer, ...] = (
    endless_body,
    endless_chunks,
    announced_body,
    endless_head,
    endless_line,
    endless_refusal,
    endless_redirect,
)
SHAPES = (
    *(b"", b"null", b"3", b"true", b'"text"', b"[]", b"[[]]", b"{}", b"\xff\xfe", b"{", b'{"keys": 3}'),
    *(b'{"keys": [3, null, [], {}, {"kty": 3}, {"kty": "RSA", "n": "!", "e": "!"}]}', b"1e999", b"[1]"),
)


@dataclass
class HostilePeer:
    """Answers every request with `answer`, until it has sent MOST_SENT bytes or the client hangs up."""

    answer: Answer
    url: str = ""
    sent: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    closed_on: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                await self._answer(head.split(b" ")[1].decode(), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client closed it
        finally:
            self.closed_on += 1
            writer.transport.abort()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        for piece in self.answer(path):
            if self.sent > MOST_SENT:
                return
            writer.write(piece)
            await writer.drain()
            self.sent += len(piece)


@asynccontextmanager
async def hostile_peer(answer: Answer) -> AsyncIterator[HostilePeer]:
    """Let it listen on a free port while the context lasts."""
    peer = HostilePeer(answer)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield peer
