"""Wake readers when there are new events: one LISTEN and one look at the log for all of a process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

import structlog

from shared.event_log.errors import LogUnavailable
from shared.event_log.types import RecordedEvent
from shared.platform import limits
from shared.platform.postgres import HeldConnection

log = structlog.get_logger(__name__)


class Notifier:
    """Knows the log's last position as far as this process has heard of it, and wakes those who wait."""

    def __init__(self) -> None:
        self._notification = asyncio.Event()
        self.head = 0
        """The last position that this process has heard of."""
        self.awaited = asyncio.Event()
        """Set when a task waits the first time. Before that there is no need to LISTEN."""

    def notify(self, head: int) -> None:
        """Take in the log's last position. It may be lower than before: of a restored database."""
        if head != self.head:
            self.head = head
            self._notification.set()
            self._notification = asyncio.Event()

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """Wait at most `timeout` seconds for an event after `position`; return whether there is one."""
        self.awaited.set()
        # Not `asyncio.wait_for`: before Python 3.12 it swallows a cancellation that comes together with the
        # notification. Its task would then go on without end, and the one that stops it would wait as long.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.head <= position:
                    await self._notification.wait()
        return self.head > position


LOOK_ANYWAY_SECONDS = 10.0
"""After so long a follower reads the log even when it has heard of nothing: nobody depends on a listener."""


class Readable(Protocol):
    """The part of an event log that `tail` needs."""

    async def read(self, after: int, limit: int) -> list[RecordedEvent]: ...


async def tail(
    event_log: Readable, notifier: Notifier, after: int, batch: int
) -> AsyncIterator[list[RecordedEvent]]:
    """Yield the events after position `after`, each once and in order, then new ones without end.

    While the log is unavailable it waits as well: for its reader that is only a longer wait.
    """
    while True:
        events, head = [], notifier.head
        try:
            events = await event_log.read(after, batch)
        except LogUnavailable as error:
            log.warning("event_log.read_failed", after=after, reason=str(error))
            head = after + 1
        if events:
            after = events[-1].position
            yield events
        elif head > after:  # it cannot be read, or a database was restored that does not have it
            await asyncio.sleep(PAUSE_SECONDS)
        await notifier.wait_beyond(after, LOOK_ANYWAY_SECONDS)


CHANNEL = "event_log"
POSITION = "SELECT coalesce(max(notification_id), 0) FROM stored_events"
PAUSE_SECONDS = 1.0


class Listener:
    """Notifies this process whenever any process has appended to this log."""

    def __init__(
        self, connection: HeldConnection, notifier: Notifier, position: Callable[[], Awaitable[int]]
    ) -> None:
        self._connection = connection
        self._notifier = notifier
        self._position = position

    async def run(self) -> None:
        """Listen from the moment that a task first waits; use a new connection when one is lost.

        Between two connections, and where a pooler refuses LISTEN, it only looks.
        """
        try:
            await self._notifier.awaited.wait()
            while True:
                await self._listen_until_lost()
                with contextlib.suppress(LogUnavailable):
                    self._notifier.notify(await self._position())
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await self._connection.drop()  # closing the connection also ends the LISTEN

    async def _listen_until_lost(self) -> None:
        lost = asyncio.Event()
        try:
            connection = await self._connection.get()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, self._on_notify)
            while not lost.is_set():
                # A notification may have been lost; and without a question a silent connection is not found.
                self._notifier.notify(await connection.fetchval(POSITION))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limits.PROBE):
                        await lost.wait()
        except Exception as error:  # on any error: a new connection
            await self._connection.drop()
            log.warning("event_log.listen_failed", reason=type(error).__name__)

    def _on_notify(self, *notification: object) -> None:
        """Take the connection, the process of the server, the channel and the position as text."""
        self._notifier.notify(int(str(notification[-1])))
