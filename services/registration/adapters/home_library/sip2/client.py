"""One home library that speaks SIP2: a few connections, kept and shared."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import date

from aiolimiter import AsyncLimiter

from registration.adapters.home_library.errors import ClosedWithoutAnswer, OutOfStep, TimedOut
from registration.adapters.home_library.settings import Credentials, Library
from registration.adapters.home_library.sip2.connection import IdleConnections, connect
from registration.adapters.home_library.sip2.messages import PatronReply
from registration.adapters.home_library.sip2.verdict import verdict_of
from registration.domain.verdict import NotFound, Refused, Valid

_BURST_SECONDS = 0.1
"""How much of a library's rate may go out at once: no second ever holds many more than were agreed."""


class Sip2Library:
    """Asks over at most `library.connections` connections at once; each carries one question at a time.

    Not more than `library.requests_per_second` go out, whoever asks in this process: the counter and the
    night share it. `context` are the terms of TLS; None: none is used.
    """

    def __init__(
        self,
        library: Library,
        credentials: Credentials | None,
        context: ssl.SSLContext | None,
        today: Callable[[], date],
    ) -> None:
        self._library = library
        self._credentials = credentials
        self._context = context
        self._today = today
        self._rate = _rate(library.requests_per_second)
        self._free = asyncio.Semaphore(library.connections)
        self._idle = IdleConnections(library.idle_seconds)

    @property
    def connections(self) -> int:
        """How many questions it takes at once."""
        return self._library.connections

    async def ask(self, card_number: str) -> Valid | Refused | NotFound:
        """The library's verdict on a card. Raises NoAnswer.

        A connection that is closed without an answer (the library's system was restarted, or gave up on one
        that was idle for long) is tried once more, on a new one. A time-out is not: waiting twice helps
        nobody.
        """
        if self._rate is not None:
            await self._rate.acquire()
        until = self._now() + self._library.connect_seconds + self._library.answer_seconds
        if self._free.locked():
            await self._await_connection(until)
        else:
            await self._free.acquire()
        try:
            reply = await self._surely(card_number, until)
        finally:
            self._free.release()
        return verdict_of(reply, self._library, self._today())

    async def _surely(self, card_number: str, until: float) -> PatronReply:
        try:
            reply = await self._question(card_number, until)
        except (ClosedWithoutAnswer, OutOfStep):
            return await self._once_more(card_number, until)
        if reply.value("AA") == card_number or reply.in_step:
            return reply
        # Another number than asked: a replaced card (R10), or a late answer to somebody else's question. On a
        # new connection nobody else's answer can be under way.
        return await self._once_more(card_number, until)

    async def _once_more(self, card_number: str, until: float) -> PatronReply:
        """Ask on a new connection. Waiting for our turn is not the library's fault, nor the asker's."""
        began = self._now()
        if self._rate is not None:
            await self._rate.acquire()
        self._idle.close()
        return await self._question(card_number, until + self._now() - began)

    async def _question(self, card_number: str, until: float) -> PatronReply:
        """Over one connection: kept afterwards, unless anything went wrong, cancellation included."""
        connection = self._idle.take() or await connect(
            self._library, self._credentials, self._context, until
        )
        try:
            reply = await connection.patron(card_number, until)
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        return reply

    async def _await_connection(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._free.acquire()
        except TimeoutError:
            raise TimedOut from None

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def close(self) -> None:
        """Drop the connections that are not in use."""
        self._idle.close()


def _rate(requests_per_second: float | None) -> AsyncLimiter | None:
    if requests_per_second is None:
        return None
    burst = max(1.0, requests_per_second * _BURST_SECONDS)
    return AsyncLimiter(burst, burst / requests_per_second)
