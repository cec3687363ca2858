"""Wake readers when there are new events: LISTEN makes it fast, polling makes sure that none is missed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import structlog

from shared.event_log.errors import LogUnavailable
from shared.event_log.types import RecordedEvent
from shared.platform import limits
from shared.platform.postgres import Connection, HeldConnection


class Notifier:
    """Wakes all tasks that wait. Call `next_notification()` before reading the log, and wait for it after."""

    def __init__(self) -> None:
        self._notification = asyncio.Event()
        self.awaited = asyncio.Event()
        """Set when a task asks for a notification the first time. Before that there is no need to LISTEN."""

    def next_notification(self) -> asyncio.Event:
        """Return the asyncio event that the next notification sets."""
        self.awaited.set()
        return self._notification

    def notify(self) -> None:
        """Wake all tasks that wait now."""
        self._notification.set()
        self._notification = asyncio.Event()


async def wait_for_notification(notification: asyncio.Event, timeout: float) -> None:
    """Wait for the notification, at most `timeout` seconds."""
    # Not `asyncio.wait_for`: before Python 3.12 it swallows a cancellation that comes together with the
    # notification. Its task would then go on without end, and the one that stops it would wait without end.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            await notification.wait()


POLL_SECONDS = 0.5
"""How long an event may stay unseen when its notification was lost, such as during a reconnect."""


log = structlog.get_logger(__name__)


class Readable(Protocol):
    """The part of an event log that `tail` and `wait_beyond` need."""

    async def read(self, after: int, limit: int) -> list[RecordedEvent]: ...

    async def position(self) -> int: ...


async def tail(
    event_log: Readable, notifier: Notifier, after: int, batch: int
) -> AsyncIterator[list[RecordedEvent]]:
    """Yield the events after position `after`, each once and in order, then new ones without end.

    While the log is unavailable it waits as well: for its reader that is only a longer wait.
    """
    while True:
        notification = notifier.next_notification()
        try:
            events = await event_log.read(after, batch)
        except LogUnavailable as error:
            log.warning("event_log.read_failed", after=after, reason=str(error))
            events = []
        if events:
            after = events[-1].position
            yield events
        else:
            await wait_for_notification(notification, POLL_SECONDS)


async def wait_beyond(event_log: Readable, notifier: Notifier, position: int, timeout: float) -> bool:
    """Wait at most `timeout` seconds for an event after `position`; return whether there is one."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        notification = notifier.next_notification()
        if await event_log.position() > position:
            return True
        left = deadline - loop.time()
        if left <= 0:
            return False
        await wait_for_notification(notification, min(left, POLL_SECONDS))


CHANNEL = "event_log"
PAUSE_SECONDS = 1.0


class Listener:
    """Notifies the readers of this process whenever any process has appended to this log."""

    def __init__(self, connection: HeldConnection, notifier: Notifier) -> None:
        self._connection = connection
        self._notifier = notifier

    async def run(self) -> None:
        """Listen from the moment that a task first waits; use a new connection when one is lost."""
        try:
            await self._notifier.awaited.wait()
            while True:
                await self._listen_until_lost()
                self._notifier.notify()
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await self._connection.drop()  # closing the connection also ends the LISTEN

    async def _listen_until_lost(self) -> None:
        lost = asyncio.Event()
        try:
            connection = await self._connection.get()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, self._on_notify)
        except Exception as error:  # on any error: polling goes on without a listener
            await self._connection.drop()
            log.warning("event_log.listen_failed", reason=type(error).__name__)
        else:
            self._notifier.notify()  # events may have come before the LISTEN began
            await self._until_lost(connection, lost)

    async def _until_lost(self, connection: Connection, lost: asyncio.Event) -> None:
        """Return when the connection ends; a silent one is found by a question now and then."""
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.PROBE):
                    await lost.wait()
                    return
            try:
                await connection.fetchval("SELECT 1")
            except Exception as error:  # on any error: a new connection
                await self._connection.drop()
                log.warning("event_log.listen_failed", reason=type(error).__name__)
                return

    def _on_notify(self, *_: object) -> None:
        self._notifier.notify()
