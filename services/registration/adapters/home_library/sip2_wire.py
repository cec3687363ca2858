"""The bytes of one SIP2 connection: frames out, frames in."""

import asyncio
from typing import cast

from registration.adapters.home_library.failures import ClosedWithoutAnswer, GarbledReply, OutOfStep
from registration.adapters.home_library.sip2 import FrameReader


class Wire(asyncio.Protocol):
    """Everything that arrives goes straight into the frame reader, so `is_quiet` knows of every byte."""

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._arrived = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._over: type[ClosedWithoutAnswer | GarbledReply] | None = None

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
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See asyncio.Protocol. A reset is no more of an answer than a clean close."""
        self._over = self._over or ClosedWithoutAnswer
        self._arrived.set()

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
        self._transport.write(data)

    async def receive(self) -> bytes:
        """The next frame. Raises ClosedWithoutAnswer, GarbledReply; waits for ever otherwise."""
        while (frame := self._frames.next()) is None:
            if self._over is not None:
                raise self._over
            self._arrived.clear()
            await self._arrived.wait()
        return frame

    def close(self) -> None:
        """Drop the connection at once; nothing is owed to the other side."""
        if self._transport is not None:
            self._transport.abort()
