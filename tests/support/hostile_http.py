"""An HTTP server over real TCP that misbehaves as a test says: it sends without end, drips, or lies."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
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


def bomb_on_the_way(_path: str) -> Iterator[bytes]:
    """The same, said to be packed by the connection and not by the page (RFC 9112, section 7)."""
    packed = _packed(100_000_000)
    yield OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n"
    yield b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)


def nested(_path: str) -> Iterator[bytes]:
    """Valid JSON that is nested more deeply than a parser that calls itself can follow."""
    yield from json_answer(b"[" * 200_000 + b"]" * 200_000)


def silent(_path: str) -> Iterator[bytes]:
    yield from ()


def interim(_path: str) -> Iterator[bytes]:
    """No final response ever comes (RFC 9110, section 15.2)."""
    yield from repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n")


def another_protocol(_path: str) -> Iterator[bytes]:
    yield b"SSH-2.0-OpenSSH_9.6\r\n"


def another_type(_path: str) -> Iterator[bytes]:
    page = b"<html><form action='/login'></form></html>"
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page) + page


def page_of_a_proxy(_path: str) -> Iterator[bytes]:
    """Not found; it is the proxy that does not know the address."""
    page = b"<html><h1>404 Not Found</h1></html>"
    yield b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
    yield page


def redirect_to(address: str) -> Answer:
    """From anywhere to there."""
    head = f"HTTP/1.1 307 Moved\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n".encode()
    return lambda _path: iter([head])


METADATA_OF_A_CLOUD = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
"""Where a machine in a cloud finds its own passwords."""


def in_utf_16(honest: bytes) -> Iterator[bytes]:
    yield from json_answer(honest.decode().encode("utf-16"))


def in_latin_1(honest: bytes) -> Iterator[bytes]:
    yield from json_answer(with_member(honest, '"more": "Zo\u00eb"').decode().encode("latin-1"))


def not_a_number(honest: bytes) -> Iterator[bytes]:
    yield from json_answer(with_member(honest, '"more": NaN'))


def beyond_all_numbers(honest: bytes) -> Iterator[bytes]:
    yield from json_answer(with_member(honest, '"more": 1e999'))


def name_twice(honest: bytes) -> Iterator[bytes]:
    """Each reader may take another of the two (RFC 8259, section 4)."""
    [(name, value), *_] = json.loads(honest).items()
    yield from json_answer(with_member(honest, f"{json.dumps(name)}: {json.dumps(value)}"))


def cut_off(honest: bytes) -> Iterator[bytes]:
    yield from json_answer(honest[: len(honest) // 2])


def two_lengths(honest: bytes) -> Iterator[bytes]:
    """A proxy and its client may disagree where such a reply ends (RFC 9112, section 6.3)."""
    yield OK + b"Content-Length: 2\r\nContent-Length: %d\r\n\r\n" % len(honest) + honest


def with_member(honest: bytes, member: str) -> bytes:
    """An object with one member more, in front."""
    return honest.replace(b"{", b"{" + member.encode() + b", ", 1)


CONTENTS: Mapping[str, Callable[[bytes], Iterator[bytes]]] = {
    one.__name__: one
    for one in (in_utf_16, in_latin_1, not_a_number, beyond_all_numbers, name_twice, cut_off, two_lengths)
}
"""What is wrong with an honest object."""

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
    """Answers every request with `answer`, until it has sent MOST_SENT bytes or the client hangs up.

    `pause`: seconds before each piece.
    """

    answer: Answer
    url: str = ""
    sent: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    closed_on: int = 0
    pause: float = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
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
            if self.pause:
                await asyncio.sleep(self.pause)
            writer.write(piece)
            await writer.drain()
            self.sent += len(piece)


@asynccontextmanager
async def hostile_peer(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[HostilePeer]:
    """Let it listen on a free port while the context lasts; at `localhost` with TLS."""
    peer = HostilePeer(answer)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls)
    where = "https://localhost" if tls else "http://127.0.0.1"
    peer.url = f"{where}:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield peer
