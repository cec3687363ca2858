"""One home library that speaks SIP2: asked over a few shared connections (R4)."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import date

from aiolimiter import AsyncLimiter

from registration.adapters.home_library.errors import ClosedWithoutAnswer, OutOfStep, TimedOut
from registration.adapters.home_library.settings import Credentials, Library
from registration.adapters.home_library.sip2.connection import IdleConnections, connect
from registration.domain.verdict import NotFound, Refused, Valid

_BURST_SECONDS = 0.1
"""Questions of this many seconds may be sent at once. It is short, so no second exceeds the rate by much."""


class Sip2Library:
    """Asks over at most `library.connections` connections, each with one question at a time.

    At most `library.requests_per_second` questions are sent by this process: its counters and its nightly
    check share the rate. `context`: the TLS settings; None: no TLS.
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
        """How many questions the library takes at once."""
        return self._library.connections

    async def ask(self, card_number: str) -> Valid | Refused | NotFound:
        """Return the library's verdict about a card. Raises NoAnswer.

        If the library closes a connection without a reply (it was restarted, or the connection was idle for
        long), the question is asked once more on a new one. After a time-out it is not: the caller has waited
        long enough.
        """
        if self._rate is not None:
            await self._rate.acquire()
        until = self._now() + self._library.connect_seconds + self._library.answer_seconds
        if self._free.locked():
            await self._await_connection(until)
        else:
            await self._free.acquire()
        try:
            return await self._ask_with_retry(card_number, until)
        finally:
            self._free.release()

    async def _ask_with_retry(self, card_number: str, until: float) -> Valid | Refused | NotFound:
        """Ask again on a new connection when the reply may answer an earlier question.

        It names another card then: that may also be the number that replaced the asked one (R10).
        """
        try:
            return await self._ask_once(card_number, until)
        except (ClosedWithoutAnswer, OutOfStep):
            return await self._ask_again(card_number, until)

    async def _ask_again(self, card_number: str, until: float) -> Valid | Refused | NotFound:
        """Ask on a new connection. The wait for the rate limit does not count as time of the library."""
        began = self._now()
        if self._rate is not None:
            await self._rate.acquire()
        self._idle.close()
        return await self._ask_once(card_number, until + self._now() - began, alone=True)

    async def _ask_once(
        self, card_number: str, until: float, *, alone: bool = False
    ) -> Valid | Refused | NotFound:
        """Ask over one connection. Keep it afterwards, except after an error or a cancellation.

        When a kept connection was silent, the others may be dead too: a firewall dropped them.
        """
        connection = self._idle.take() or await connect(
            self._library, self._credentials, self._context, until
        )
        try:
            verdict = await connection.patron(card_number, self._today(), until, alone=alone)
        except BaseException as error:
            connection.close()
            if isinstance(error, TimedOut) and connection.questions > 1:
                self._idle.close()
            raise
        if connection.questions == self._library.questions_per_connection:
            connection.close()
        else:
            self._idle.put(connection)
        return verdict

    async def _await_connection(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._free.acquire()
        except TimeoutError:
            raise TimedOut from None

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._idle.close()


def _rate(requests_per_second: float | None) -> AsyncLimiter | None:
    if requests_per_second is None:
        return None
    burst = max(1.0, requests_per_second * _BURST_SECONDS)
    return AsyncLimiter(burst, burst / requests_per_second)
