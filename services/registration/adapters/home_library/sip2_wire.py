"""The bytes of one SIP2 connection: frames out, frames in."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Literal, cast

from registration.adapters.home_library.failures import (
    CannotConnect,
    CertificateNotTrusted,
    ClosedWithoutAnswer,
    GarbledReply,
    OutOfStep,
    TimedOut,
    TlsFailed,
)
from registration.adapters.home_library.sip2 import FrameReader

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
