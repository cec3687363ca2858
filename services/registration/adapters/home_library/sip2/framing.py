"""SIP2 (3M Standard Interchange Protocol 2.00) on the network: frames, checksums, fields."""

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

LONGEST_REPLY = 16_384
"""In bytes, with all that comes after it until the next question. Real replies have some hundreds."""

_TRAILER = re.compile(rb"(?:AY([0-9]))?AZ([0-9A-Fa-f]{4})\Z")
_TRAILER_LENGTH = len("AY0AZFFFF")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_YES_OR_NO = "BL"
_UNSAFE = re.compile(r"[|\x00-\x1f\x7f-\x9f\u2028\u2029]")
_OF_THE_TRAILER = frozenset({"AY", "AZ"})
# A set is faster than a pattern, and a nightly check needs it ten times per guest.
_CODES = (
    frozenset(first + second for first in ascii_uppercase for second in ascii_uppercase + digits)
    - _OF_THE_TRAILER
)


class UnsafeValue(ValueError):
    """A value holds the field separator or a control character, so it cannot be sent."""


def field(code: str, value: str) -> str:
    """Return a variable field. Raises UnsafeValue for a value that could end the field or the message."""
    if not is_safe(value):
        raise UnsafeValue(code)
    return f"{code}{value}|"


def is_safe(value: str) -> bool:
    """Return whether a field may hold this value: no `|`, no control characters."""
    return _UNSAFE.search(value) is None


def is_writable(value: str, encoding: str) -> bool:
    """Return whether a value can be sent in this encoding. CP850, for example, has no euro sign."""
    try:
        value.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def checksum(data: bytes) -> bytes:
    """Return the two's complement of the byte sum in four hex digits. `data` ends with `AZ`."""
    return b"%04X" % (-sum(data) & 0xFFFF)


def frame(body: str, encoding: str, sequence: int | None = None) -> bytes:
    """Return the bytes of one message. With a sequence digit it gets a checksum too."""
    data = body.encode("ascii" if body.isascii() else encoding)  # "ascii" is faster, with the same bytes
    if sequence is not None:
        data += b"AY%dAZ" % sequence
        data += checksum(data)
    return data + b"\r"


class Message(NamedTuple):
    """A message without its trailer. `sequence`: its digit, if any; `checked`: its checksum was right."""

    text: str
    sequence: int | None = None
    checked: bool = False


def open_frame(data: bytes, encoding: str, *, checksum_needed: bool = False) -> Message:
    """Check the checksum and decode. Raises BadChecksum, GarbledReply.

    `checksum_needed`: the other side sends checksums, so a message without one has lost its end.
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
    """Cuts incoming data into frames. The data may hold a part of a reply, or several replies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add incoming data."""
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole frame without its CR; None while it is incomplete."""
        while (end := self._buffer.find(b"\r")) >= 0:
            data = bytes(self._buffer[:end]).strip(b"\n\x00")
            del self._buffer[: end + 1]
            if data:
                return data
        return None

    @property
    def is_empty(self) -> bool:
        """Whether no data is left except line ends."""
        return not self._buffer.strip(b"\r\n\x00")


def fields(text: str, start: int) -> Sequence[tuple[str, str]]:
    """Return the variable fields from offset `start`, in their order. Raises GarbledReply.

    Control characters become spaces, because some systems put line ends into addresses and messages. They
    stay in a yes or no, which is then damaged. A trailer with a damaged checksum shows up here as a field,
    and raises BadChecksum.
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
"""Gets every frame that is sent (>) or received (<), without its CR. For a probe, never for a log."""


class Wire(asyncio.Protocol):
    """One network connection. All incoming data goes straight to the frame reader, so `is_quiet` is exact.

    The other side may send LONGEST_REPLY bytes for each question, and only line ends when none is open. More
    ends the connection, so that no library can fill the memory.
    """

    def __init__(self, tap: Tap | None = None) -> None:
        self._frames = FrameReader()
        self._tap = tap
        self._arriving: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._over: type[ClosedWithoutAnswer | GarbledReply] | None = None
        self._is_asked = False
        self._room = LONGEST_REPLY

    async def connect(self, host: str, port: int) -> None:
        """Connect. Raises CannotConnect."""
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        except OSError as error:
            raise CannotConnect from error

    async def secure(self, context: ssl.SSLContext, server_name: str) -> ssl.SSLObject:
        """Start TLS. Return what was negotiated. Raises CertificateNotTrusted, TlsFailed, NoAnswer."""
        if self._over is not None or self._transport is None:
            raise self._over or ClosedWithoutAnswer
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
        if self._over is not None:
            return
        fitting = data[: self._room]
        self._room -= len(fitting)
        self._frames.feed(fitting)
        if not self._is_asked and not self._frames.is_empty:
            self._end(OutOfStep)
        elif len(fitting) < len(data):
            self._end(GarbledReply)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See asyncio.Protocol. A reset counts as a close."""
        self._over = self._over or ClosedWithoutAnswer
        self._wake()

    @property
    def is_quiet(self) -> bool:
        """Whether it is open, and no unexpected data came in."""
        return self._over is None

    def send(self, data: bytes) -> None:
        """Send one message. Raises OutOfStep after unexpected data, GarbledReply, ClosedWithoutAnswer."""
        if self._over is not None or self._transport is None:
            raise self._over or ClosedWithoutAnswer
        if self._tap:
            self._tap(">", data.rstrip(b"\r"))
        self._is_asked, self._room = True, LONGEST_REPLY
        self._transport.write(data)

    async def receive(self, until: float) -> bytes:
        """Return the next frame. Raises TimedOut at `until`, ClosedWithoutAnswer, GarbledReply."""
        loop = asyncio.get_running_loop()
        while (frame := self._frames.next()) is None:
            if self._over is not None:
                raise self._over
            self._arriving = loop.create_future()
            # Not asyncio.timeout: it takes as much time as the rest of a question.
            timer = loop.call_at(until, _give_up, self._arriving)
            try:
                await self._arriving
            finally:
                timer.cancel()
        self._is_asked = False
        if not self._frames.is_empty:
            self._end(OutOfStep)
        if self._tap:
            self._tap("<", frame)
        return frame

    def _wake(self) -> None:
        if self._arriving is not None and not self._arriving.done():
            self._arriving.set_result(None)

    def _end(self, reason: type[GarbledReply]) -> None:
        self._over = reason
        self.close()

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()


def _give_up(arriving: asyncio.Future[None]) -> None:
    if not arriving.done():
        arriving.set_exception(TimedOut())
