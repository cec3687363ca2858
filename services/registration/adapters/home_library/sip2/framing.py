"""The wire of SIP2 (3M Standard Interchange Protocol 2.00): frames, checksums, fields."""

import asyncio
import re
import ssl
from collections.abc import Callable, Sequence
from string import ascii_uppercase, digits
from typing import Literal, NamedTuple, cast

from registration.adapters.home_library.errors import (
    BadChecksum,
    CannotConnect,
    CertificateNotTrusted,
    ClosedWithoutAnswer,
    GarbledReply,
    OutOfStep,
    TimedOut,
    TlsFailed,
)

LONGEST_FRAME = 16_384
"""Bytes. Real replies have some hundreds; what has no end after this many is not SIP2."""

_TRAILER = re.compile(rb"(?:AY([0-9]))?AZ([0-9A-Fa-f]{4})\Z")
_TRAILER_LENGTH = len("AY0AZFFFF")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_YES_OR_NO = "BL"
_UNSAFE = re.compile(r"[|\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OF_THE_TRAILER = frozenset({"AY", "AZ"})
# A set is asked faster than a pattern, and the night asks it ten times for every guest.
_CODES = (
    frozenset(first + second for first in ascii_uppercase for second in ascii_uppercase + digits)
    - _OF_THE_TRAILER
)


class UnsafeValue(ValueError):
    """A value holds the field separator or a control character: it never reaches the wire."""


def field(code: str, value: str) -> str:
    """One variable field. Raises UnsafeValue for a value that could end the field or the message."""
    if not is_safe(value):
        raise UnsafeValue(code)
    return f"{code}{value}|"


def is_safe(value: str) -> bool:
    """Whether a value may stand in a field: no `|`, no control characters."""
    return _UNSAFE.search(value) is None


def is_writable(value: str, encoding: str) -> bool:
    """Whether a value can be sent in this encoding: CP850 has no euro sign, for one."""
    try:
        value.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def checksum(data: bytes) -> bytes:
    """Two's complement of the byte sum in four hex digits; `data` runs up to and including `AZ`."""
    return b"%04X" % (-sum(data) & 0xFFFF)


def frame(body: str, encoding: str, sequence: int | None = None) -> bytes:
    """The bytes of one message; with a sequence digit it carries a checksum too."""
    data = body.encode("ascii" if body.isascii() else encoding)  # the same in each, and fast in one
    if sequence is not None:
        data += b"AY%dAZ" % sequence
        data += checksum(data)
    return data + b"\r"


class Message(NamedTuple):
    """A message without its trailer: its sequence digit if it had one, whether a checksum proved it whole."""

    text: str
    sequence: int | None = None
    checked: bool = False


def open_frame(data: bytes, encoding: str, *, checksum_needed: bool = False) -> Message:
    """Checks the checksum and decodes. Raises BadChecksum, GarbledReply.

    `checksum_needed`: the other side sends checksums, so a message without one has lost its tail.
    """
    trailer = _TRAILER.search(data, max(0, len(data) - _TRAILER_LENGTH))
    if trailer is None:
        if checksum_needed:
            raise BadChecksum
        return Message(_decoded(data, encoding))
    if checksum(data[: trailer.start(2)]) != trailer[2].upper():
        raise BadChecksum
    sequence = None if trailer[1] is None else int(trailer[1])
    return Message(_decoded(data[: trailer.start()], encoding), sequence, checked=True)


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise GarbledReply from None


class FrameReader:
    """Cuts what arrives into frames, wherever the network cut it: half a reply, or several at once."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Takes in what was read. Raises GarbledReply when a frame finds no end."""
        self._buffer += data
        if len(self._buffer) > LONGEST_FRAME and b"\r" not in self._buffer:
            raise GarbledReply

    def next(self) -> bytes | None:
        """The next whole frame without its CR; None while it is incomplete."""
        while (end := self._buffer.find(b"\r")) >= 0:
            data = bytes(self._buffer[:end]).strip(b"\n\x00")
            del self._buffer[: end + 1]
            if data:
                return data
        return None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits here but line ends."""
        return not self._buffer.strip(b"\r\n\x00")


def fields(text: str, start: int) -> Sequence[tuple[str, str]]:
    """The variable fields from offset `start`, in the order of the wire. Raises GarbledReply.

    Each value is on one line: some systems put line ends into addresses and messages. But a yes or no with a
    control character in it is damaged, and stays so. A trailer that could not be taken off (a damaged
    checksum) shows up here as a field, and is refused.
    """
    found = []
    for part in text[start:].split("|"):
        code, value = part[:2], part[2:]
        if code in _CODES:
            on_one_line = value.isprintable() or code == _YES_OR_NO
            found.append((code, value if on_one_line else _CONTROLS.sub(" ", value)))
        elif code in _OF_THE_TRAILER:
            raise BadChecksum
        elif _CONTROLS.sub(" ", part).strip(" "):
            raise GarbledReply
    return found


Tap = Callable[[Literal[">", "<"], bytes], None]
"""Is shown every frame that goes out (>) and comes in (<), without its CR. For a probe, never for a log."""


class Wire(asyncio.Protocol):
    """Everything that arrives goes straight into the frame reader, so `is_quiet` knows of every byte."""

    def __init__(self, tap: Tap | None = None) -> None:
        self._frames = FrameReader()
        self._tap = tap
        self._arriving: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._over: type[ClosedWithoutAnswer | GarbledReply] | None = None

    async def connect(self, host: str, port: int) -> None:
        """Raises CannotConnect."""
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        except OSError as error:
            raise CannotConnect from error

    async def secure(self, context: ssl.SSLContext, server_name: str) -> ssl.SSLObject:
        """Encrypt what follows; gives what was agreed. Raises CertificateNotTrusted, TlsFailed."""
        if self._transport is None:
            raise ClosedWithoutAnswer
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(self._transport, self, context, server_hostname=server_name)
        except ssl.SSLCertVerificationError as error:
            raise CertificateNotTrusted from error
        except OSError as error:
            raise TlsFailed from error
        if secured is None:
            raise TlsFailed
        self._transport = secured
        return cast("ssl.SSLObject", secured.get_extra_info("ssl_object"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            self._frames.feed(data)
        except GarbledReply:
            self._over = GarbledReply
            self.close()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See asyncio.Protocol. A reset is no more of an answer than a clean close."""
        self._over = self._over or ClosedWithoutAnswer
        self._wake()

    @property
    def is_quiet(self) -> bool:
        """Whether it is open, and nothing came that nobody asked for."""
        return self._over is None and self._frames.is_empty

    def send(self, data: bytes) -> None:
        """Send one message. Raises OutOfStep when an answer waits that nobody asked for: so may the next."""
        if not self._frames.is_empty:
            raise OutOfStep
        if self._over is not None or self._transport is None:
            raise ClosedWithoutAnswer
        if self._tap:
            self._tap(">", data.rstrip(b"\r"))
        self._transport.write(data)

    async def receive(self, until: float) -> bytes:
        """The next frame, by the loop's time `until`. Raises TimedOut, ClosedWithoutAnswer, GarbledReply."""
        loop = asyncio.get_running_loop()
        while (frame := self._frames.next()) is None:
            if self._over is not None:
                raise self._over
            self._arriving = loop.create_future()
            # A timer and no more: asyncio.timeout costs as much as all the rest of a question.
            timer = loop.call_at(until, _give_up, self._arriving)
            try:
                await self._arriving
            finally:
                timer.cancel()
        if self._tap:
            self._tap("<", frame)
        return frame

    def _wake(self) -> None:
        if self._arriving is not None and not self._arriving.done():
            self._arriving.set_result(None)

    def close(self) -> None:
        """Drop the connection at once; nothing is owed to the other side."""
        if self._transport is not None:
            self._transport.abort()


def _give_up(arriving: asyncio.Future[None]) -> None:
    if not arriving.done():
        arriving.set_exception(TimedOut())
