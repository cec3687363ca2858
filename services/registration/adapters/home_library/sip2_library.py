"""One home library that speaks SIP2: a few connections, kept and shared."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date

from registration.adapters.home_library.directory import Credentials
from registration.adapters.home_library.failures import ClosedWithoutAnswer, OutOfStep, TimedOut
from registration.adapters.home_library.library import Library
from registration.adapters.home_library.sip2_connection import Sip2Connection, connect
from registration.adapters.home_library.sip2_messages import PatronReply
from registration.adapters.home_library.sip2_verdict import verdict_of
from registration.domain.verdict import NotFound, Refused, Valid


class Sip2Library:
    """Asks over at most `library.connections` connections at once; each carries one question at a time."""

    def __init__(self, library: Library, credentials: Credentials | None, today: Callable[[], date]) -> None:
        self._library = library
        self._credentials = credentials
        self._today = today
        self._free = asyncio.Semaphore(library.connections)
        self._idle: list[Sip2Connection] = []

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
        limit = self._library.connect_seconds + self._library.answer_seconds
        try:
            async with asyncio.timeout(limit), self._free:
                try:
                    reply = await self._question(card_number, fresh=False)
                except (ClosedWithoutAnswer, OutOfStep):
                    reply = await self._question(card_number, fresh=True)
                if reply.value("AA") != card_number and not reply.in_step:
                    # Another number than asked: a replaced card (R10), or a late answer to somebody else's
                    # question. On a new connection nobody else's answer can be under way.
                    reply = await self._question(card_number, fresh=True)
        except TimeoutError:
            raise TimedOut from None
        return verdict_of(reply, self._library, self._today())

    async def _question(self, card_number: str, *, fresh: bool) -> PatronReply:
        async with self._connection(fresh=fresh) as connection:
            return await connection.patron(card_number)

    @asynccontextmanager
    async def _connection(self, *, fresh: bool) -> AsyncIterator[Sip2Connection]:
        """A connection to ask over: kept afterwards, unless anything went wrong, cancellation included."""
        if fresh:
            self.close()
        connection = self._kept() or await connect(self._library, self._credentials)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def _kept(self) -> Sip2Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_idle:
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Drop the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()
