"""One home library that is asked over TCP, in any protocol: over a few kept connections (R4, ADR 0016)."""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import date

from registration.adapters.home_library.errors import (
    ClosedWithoutAnswer,
    GarbledReply,
    NotLetIn,
    NotUnderstood,
    TimedOut,
)
from registration.adapters.home_library.lines import KeptConnections, Reply, Turns
from registration.adapters.home_library.settings import Library
from registration.adapters.home_library.wire import Frames, Tap, Wire


class TcpConnection(ABC):
    """One connection, with one question at a time. Call `open`, `secure` (with TLS), `begin`; then `patron`.

    Close it after any error: it cannot be used any more. `until` is a moment of the event loop's clock. A
    reply has at most `longest` bytes.
    """

    def __init__(self, library: Library, frames: Frames, longest: int, tap: Tap | None = None) -> None:
        self._library = library
        self._wire = Wire(frames, longest, tap)
        self.idle_since = 0.0
        self.questions = 0
        """How many questions about a card it was asked."""

    async def open(self) -> None:
        """Connect, without a time-out. Raises CannotConnect."""
        await self._wire.connect(self._library.host, self._library.port)

    async def secure(self, context: ssl.SSLContext) -> ssl.SSLObject:
        """Start TLS. Return what was negotiated. Raises CertificateNotTrusted, TlsFailed."""
        return await self._wire.secure(context, self._library.tls_server_name or self._library.host)

    async def begin(self, until: float) -> None:  # noqa: B027 - some protocols begin with the question
        """Exchange the messages that come before the first question. Raises NoAnswer."""

    @abstractmethod
    async def patron(self, card_number: str, today: date, until: float, *, alone: bool = False) -> Reply:
        """Ask about one card. Raises NoAnswer. `alone`: this is the only question over this connection."""

    async def _receive(self, until: float) -> bytes:
        """Return the next reply, by `until` and within `answer_seconds`. Raises NoAnswer."""
        time_out = asyncio.get_running_loop().time() + self._library.answer_seconds
        return await self._wire.receive(min(until, time_out))

    @property
    def has_half_a_reply(self) -> bool:
        """Whether a reply began to arrive and has no end."""
        return self._wire.has_begun

    @property
    def is_idle(self) -> bool:
        """Whether it can take a question: it is open, and no unexpected data came in."""
        return self._wire.is_quiet

    def close(self) -> None:
        """Close it at once."""
        self._wire.close()


class TcpLibrary:
    """Asks over at most `library.connections` connections, which `new` makes.

    `context`: the TLS settings; None: no TLS.
    """

    def __init__(
        self,
        library: Library,
        context: ssl.SSLContext | None,
        today: Callable[[], date],
        new: Callable[[], TcpConnection],
    ) -> None:
        self._library = library
        self._today = today
        self._turns = Turns(library)

        async def connect(until: float) -> TcpConnection:
            return await connected(new(), library, context, until)

        self._kept = KeptConnections(library, connect)

    @property
    def connections(self) -> int:
        """How many questions the library takes at once."""
        return self._library.connections

    async def ask(self, card_number: str) -> Reply:
        """Return the library's verdict about a card. Raises NoAnswer.

        A reply that may answer an earlier question names another card: that may also be the number that
        replaced the asked one (R10). So it is asked again on a new connection.
        """

        async def question(connection: TcpConnection, until: float, alone: bool) -> Reply:
            return await connection.patron(card_number, self._today(), until, alone=alone)

        async def once(until: float, alone: bool) -> Reply:
            return await self._kept.ask(question, until, alone)

        return await self._turns.ask(once)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._kept.close()


async def connected(
    connection: TcpConnection, library: Library, context: ssl.SSLContext | None, until: float
) -> TcpConnection:
    """Make it ready for questions, within `connect_seconds` and by `until`. Raises NoAnswer."""
    until = min(until, asyncio.get_running_loop().time() + library.connect_seconds)
    try:
        async with asyncio.timeout_at(until):
            await connection.open()
            if context is not None:
                await connection.secure(context)
            await connection.begin(until)
    except BaseException as failure:
        connection.close()
        if isinstance(failure, TimeoutError):
            raise TimedOut from None
        # No card was asked about yet, so the fault is not in a card.
        if isinstance(failure, ClosedWithoutAnswer):
            raise NotLetIn from None
        if isinstance(failure, GarbledReply):
            raise NotUnderstood from failure
        raise
    return connection
