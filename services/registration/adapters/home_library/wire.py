"""One network connection to a home library: TCP, TLS, and replies of a limited size (ADR 0016)."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Literal, Protocol, cast

from registration.adapters.home_library.errors import (
    CannotConnect,
    CertificateNotTrusted,
    ClosedWithoutAnswer,
    GarbledReply,
    OutOfStep,
    TimedOut,
    TlsFailed,
)
from shared.platform.limits import KEEP_ALIVE

Tap = Callable[[Literal[">", "<"], bytes], None]
"""Gets every frame that is sent (>) or received (<), without its end. For a probe, never for a log."""


class Frames(Protocol):
    """Cuts incoming data into frames."""

    def feed(self, data: bytes) -> None:
        """Add incoming data."""

    def next(self) -> bytes | None:
        """Return the next whole frame without its end; None while it is incomplete."""

    @property
    def is_empty(self) -> bool:
        """Whether no data is left that counts."""


class Wire(asyncio.Protocol):
    """One network connection. All incoming data goes straight to the frame reader, so `is_quiet` is exact.

    `frames` cuts what arrives into replies. The other side may send `longest` bytes for each question, and
    nothing that counts when none is open. More ends the connection, so that no library can fill the memory.
    """

    def __init__(self, frames: Frames, longest: int, tap: Tap | None = None) -> None:
        self._frames = frames
        self._longest = longest
        self._tap = tap
        self._arriving: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._over: type[ClosedWithoutAnswer | GarbledReply] | None = None
        self._is_asked = False
        self._room = longest

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
        for option in KEEP_ALIVE:
            transport.get_extra_info("socket").setsockopt(*option)

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
    def has_begun(self) -> bool:
        """Whether a reply began to arrive and did not end yet."""
        return not self._frames.is_empty

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
        self._is_asked, self._room = True, self._longest
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
