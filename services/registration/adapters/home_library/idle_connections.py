"""Connections that wait for the next question: not for ever."""

import asyncio

from registration.adapters.home_library.sip2_connection import Sip2Connection


class IdleConnections:
    """The last one put is the first one taken, so those that are not needed grow old, and are closed.

    A firewall forgets a quiet connection without a word, and who then asks over it waits for a time-out.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._connections: list[Sip2Connection] = []
        self._sweep: asyncio.TimerHandle | None = None

    def put(self, connection: Sip2Connection) -> None:
        """Keep it for the next question."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._connections.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(self._seconds, self._drop_old)

    def take(self) -> Sip2Connection | None:
        """One that can carry a question; None when there is none."""
        while self._connections:
            connection = self._connections.pop()
            if connection.is_idle and not self._is_old(connection):
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Drop them all."""
        while self._connections:
            self._connections.pop().close()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _is_old(self, connection: Sip2Connection) -> bool:
        return asyncio.get_running_loop().time() - connection.idle_since >= self._seconds

    def _drop_old(self) -> None:
        self._sweep = None
        old = [connection for connection in self._connections if self._is_old(connection)]
        self._connections = [connection for connection in self._connections if connection not in old]
        for connection in old:
            connection.close()
        if self._connections:
            oldest = min(connection.idle_since for connection in self._connections)
            self._sweep = asyncio.get_running_loop().call_at(oldest + self._seconds, self._drop_old)
