"""How a home library is asked: so many questions at once, at the rate that it allows, over kept connections.

ADR 0016. What is said over a connection is the business of a protocol.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from aiolimiter import AsyncLimiter

from registration.adapters.home_library.errors import ClosedWithoutAnswer, OutOfStep, TimedOut
from registration.adapters.home_library.settings import Library
from registration.domain.verdict import NotFound, Refused, Valid

Reply = Valid | Refused | NotFound
_BURST_SECONDS = 0.1
"""Questions of this many seconds may be sent at once. It is short, so no second exceeds the rate by much."""


class Turns:
    """Lets at most `library.connections` questions through at a time.

    At most `library.requests_per_second` questions are sent by this process: its counters and its nightly
    check share the rate.
    """

    def __init__(self, library: Library) -> None:
        self._seconds = library.connect_seconds + library.answer_seconds
        self._rate = _rate(library.requests_per_second)
        self._free = asyncio.Semaphore(library.connections)

    async def ask(self, once: Callable[[float, bool], Awaitable[Reply]]) -> Reply:
        """Return what `once` returns, called with the moment at which to give up. Raises NoAnswer.

        If the library closes a connection without a reply (it was restarted, or the connection was idle for
        long), or the reply may answer an earlier question, `once` is called once more, with True: on a new
        connection. After a time-out it is not: the caller has waited long enough.
        """
        if self._rate is not None:
            await self._rate.acquire()
        until = _now() + self._seconds
        if self._free.locked():
            await self._await_turn(until)
        else:
            await self._free.acquire()
        try:
            try:
                return await once(until, False)
            except (ClosedWithoutAnswer, OutOfStep):
                return await self._once_more(once, until)
        finally:
            self._free.release()

    async def _once_more(self, once: Callable[[float, bool], Awaitable[Reply]], until: float) -> Reply:
        """Ask again. The wait for the rate limit does not count as time of the library."""
        began = _now()
        if self._rate is not None:
            await self._rate.acquire()
        return await once(until + _now() - began, True)

    async def _await_turn(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._free.acquire()
        except TimeoutError:
            raise TimedOut from None


class Connection(Protocol):
    """A connection that takes one question at a time. `questions`: how many it took."""

    idle_since: float
    questions: int

    @property
    def is_idle(self) -> bool:
        """Whether it can take a question: it is open, and no unexpected data came in."""

    def close(self) -> None:
        """Close it at once."""


C = TypeVar("C", bound=Connection)


class KeptConnections(Generic[C]):
    """The connections of a library, kept for the next question.

    `connect` makes one, by a moment of the event loop's clock; it raises NoAnswer.
    """

    def __init__(self, library: Library, connect: Callable[[float], Awaitable[C]]) -> None:
        self._most_questions = library.questions_per_connection
        self._connect = connect
        self._idle: _IdleConnections[C] = _IdleConnections(library.idle_seconds)

    async def ask(
        self, question: Callable[[C, float, bool], Awaitable[Reply]], until: float, alone: bool
    ) -> Reply:
        """Ask over one connection. Keep it afterwards, except after an error or a cancellation.

        `alone`: over a new one, and no other is trusted any more. When a kept connection was silent, the
        others may be dead too: a firewall dropped them.
        """
        if alone:
            self._idle.close()
        connection = self._idle.take() or await self._connect(until)
        try:
            verdict = await question(connection, until, alone)
        except BaseException as error:
            connection.close()
            if isinstance(error, TimedOut) and connection.questions > 1:
                self._idle.close()
            raise
        if connection.questions == self._most_questions:
            connection.close()
        else:
            self._idle.put(connection)
        return verdict

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._idle.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _rate(requests_per_second: float | None) -> AsyncLimiter | None:
    if requests_per_second is None:
        return None
    burst = max(1.0, requests_per_second * _BURST_SECONDS)
    return AsyncLimiter(burst, burst / requests_per_second)


class _IdleConnections(Generic[C]):
    """A stack of connections: those that are not needed stay at the bottom, grow old and are closed.

    A firewall may drop a quiet connection silently. A question over it would then wait for the time-out.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._connections: list[C] = []
        self._timer: asyncio.TimerHandle | None = None

    def put(self, connection: C) -> None:
        """Keep it for the next question."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._connections.append(connection)
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._drop_old)

    def take(self) -> C | None:
        """Return a connection that can take a question; None when there is none."""
        while self._connections:
            connection = self._connections.pop()
            if connection.is_idle and not self._is_old(connection):
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close all of them."""
        while self._connections:
            self._connections.pop().close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_old(self, connection: C) -> bool:
        return asyncio.get_running_loop().time() - connection.idle_since >= self._seconds

    def _drop_old(self) -> None:
        self._timer = None
        old = [connection for connection in self._connections if self._is_old(connection)]
        self._connections = [connection for connection in self._connections if connection not in old]
        for connection in old:
            connection.close()
        if self._connections:
            oldest = min(connection.idle_since for connection in self._connections)
            self._timer = asyncio.get_running_loop().call_at(oldest + self._seconds, self._drop_old)
