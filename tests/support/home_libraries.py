"""The other side of SIP2 over real TCP: a home library that replies as a test says, or a country of them.

Written from the standard, without the product's own code: a mistake there must show here. As a program,
`python -m tests.support.home_libraries answers,silent,slow`, it prints the ports of such libraries and serves
them until it is terminated.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import sys
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import cast

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.eventually import eventually

Pieces = Iterable[bytes | None]
Answer = Callable[[bytes], Pieces]
"""From a question (without its CR) to what is written, piece by piece; None: the connection is closed."""

HOST = "127.0.0.1"
LOGGED_IN = b"941"
ON_LINE = b"98YNNNYN03000320250911    1015302.00AONL-070288|BXNNNNYNNNNNNNNNNN|"

LIBRARIES = 140
FIRST_END = date(2090, 1, 1)
SOON = date(2080, 1, 1)
PAST = date(2020, 1, 1)
SILENT_SECONDS = 30.0
SLOW_SECONDS = 0.2
FIXED = b"00520260101    120000" + b"0000" * 6
FINES = b" " * 10 + b"Y" + b" " * 3
NO_FLAGS = b" " * 14
CHANGING = 51
"""Of so many guests one has another end, one fines, one ended, one is unknown; all others are as before."""


class Sip2Host:
    """Gives the replies that `says` lined up for a message code, one each; after them that of `usually`."""

    def __init__(self) -> None:
        self.port = 0
        self.received: list[list[bytes]] = []
        """The messages of each connection, in the order in which they were made."""
        self.usually: dict[bytes, Answer] = {b"93": checked(LOGGED_IN), b"99": checked(ON_LINE)}
        self._next: defaultdict[bytes, deque[Answer]] = defaultdict(deque)
        self._writers: set[asyncio.StreamWriter] = set()

    def says(self, code: bytes, *answers: Answer) -> None:
        """The replies to the next messages with this code."""
        self._next[code].extend(answers)

    def questions(self) -> list[bytes]:
        """The patron information requests of all connections."""
        return [message for messages in self.received for message in messages if message[:2] == b"63"]

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    def say_unasked(self, data: bytes) -> None:
        """Write to every connection, although no question is open."""
        for writer in self._writers:
            writer.write(data)

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
    last_day = end.strftime("%Y%m%d").encode()
    return b"64%s%sAO|AA%s|AEJ. Jansen|BL%s|PA%s|" % (flags, FIXED, card, valid, last_day)


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
    """Replies after this many seconds."""

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
    """Replies after a time that is longer than every time-out."""

    seconds = SILENT_SECONDS


class Garbage(Library):
    """Replies with noise to questions about cards."""

    def answer(self, message: bytes) -> bytes:
        return b"64\xff\xfe%s" % message if message.startswith(b"63") else super().answer(message)


class Closing(Library):
    """Hangs up now and then."""

    def asked(self, message: bytes) -> None:
        if message.startswith(b"63") and random.random() < 0.01 and self.transport is not None:
            self.transport.abort()
        else:
            super().asked(message)


BEHAVIOURS: dict[str, Callable[[], Library]] = {
    "answers": Library,
    "brisk": Brisk,
    "slow": Late,
    "silent": Silent,
    "garbage": Garbage,
    "closing": Closing,
}


async def _serve(behaviours: list[str]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(BEHAVIOURS[each], "127.0.0.1", 0) for each in behaviours]
    ports = [str(server.sockets[0].getsockname()[1]) for server in servers]
    sys.stdout.write(" ".join(ports) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates; `file` is its own, in PEM form, for those who trust it."""

    file: Path
    key: ec.EllipticCurvePrivateKey
    name: x509.Name

    def server(self, host_name: str) -> ssl.SSLContext:
        """The terms of a server that shows a certificate for this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.SubjectAlternativeName([x509.DNSName(host_name)])
        certificate = _draft(_name(host_name), self.name, key).add_extension(subject, critical=False)
        shown = self.file.with_name(f"{host_name}.pem")
        shown.write_bytes(
            certificate.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown)
        return context


def make_authority(folder: Path, called: str = "test") -> Authority:
    """A fresh authority, whose certificate is in this folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(called)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _draft(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{called}.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(file, key, name)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def isil_of(library: int) -> str:
    """The ISIL of a library by its number."""
    return f"NL-2{library:05d}"


def directory_of(ports: Sequence[int], answer_seconds: Sequence[float], connections: int = 4) -> str:
    """The TOML of libraries at these ports, by their numbers."""
    return "\n".join(
        f'[libraries.{isil_of(library)}]\nhost = "127.0.0.1"\nport = {port}\nexpiry_field = "PA"\n'
        f"connect_seconds = 1.0\nanswer_seconds = {seconds}\nconnections = {connections}\n"
        for library, (port, seconds) in enumerate(zip(ports, answer_seconds, strict=True))
    )


@asynccontextmanager
async def simulated(behaviours: Sequence[str]) -> AsyncIterator[list[int]]:
    """Libraries that behave so, in a process of their own; their ports, in that order."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.home_libraries", ",".join(behaviours)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout is not None
        yield [int(port) for port in (await process.stdout.readline()).split()]
    finally:
        process.terminate()
        await process.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1].split(",")))
