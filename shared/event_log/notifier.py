"""How a process learns of new events: LISTEN is the hint, polling is the truth."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import structlog

from shared.event_log.errors import LogUnavailable
from shared.event_log.types import RecordedEvent
from shared.platform.postgres import HeldConnection


class Notifier:
    """Rings for everybody who waits. Take `next_notification()` before looking, and wait for it after."""

    def __init__(self) -> None:
        self._ring = asyncio.Event()
        self.awaited = asyncio.Event()
        """Set as soon as somebody wants to hear it: before, nobody need listen for what makes it ring."""

    def next_notification(self) -> asyncio.Event:
        """Give the event that the next ring will set."""
        self.awaited.set()
        return self._ring

    def notify(self) -> None:
        """Wake all who wait now."""
        self._ring.set()
        self._ring = asyncio.Event()


async def wait_for_notification(ring: asyncio.Event, timeout: float) -> None:
    """Wait for the ring or for `timeout` seconds, whichever comes first."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ring.wait(), timeout)


POLL_SECONDS = 0.5
"""How long an event may stay unseen when its ring was lost (another process's NOTIFY, a reconnect)."""


log = structlog.get_logger(__name__)


class Readable(Protocol):
    """The part of a log that following it needs."""

    async def read(self, after: int, limit: int) -> list[RecordedEvent]: ...

    async def position(self) -> int: ...


async def tail(
    event_log: Readable, notifier: Notifier, after: int, batch: int
) -> AsyncIterator[list[RecordedEvent]]:
    """Yield the events beyond `after`, each once and in order, and wait for more, for ever.

    While the log is unavailable it waits too: for one who follows, that is only a longer wait.
    """
    while True:
        notification = notifier.next_notification()
        try:
            events = await event_log.read(after, batch)
        except LogUnavailable as error:
            log.warning("event_log.tail_waits", after=after, reason=str(error))
            events = []
        if events:
            after = events[-1].position
            yield events
        else:
            await wait_for_notification(notification, POLL_SECONDS)


async def wait_beyond(event_log: Readable, notifier: Notifier, position: int, timeout: float) -> bool:
    """Wait at most `timeout` seconds for an event beyond `position`; say whether there is one."""
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
    """Rings the notifier whenever any process appended to this log."""

    def __init__(self, connection: HeldConnection, notifier: Notifier) -> None:
        self._connection = connection
        self._doorbell = notifier

    async def run(self) -> None:
        """Listen from the first time that somebody waits, on a new connection when one is lost."""
        try:
            await self._doorbell.awaited.wait()
            while True:
                await self._listen_until_lost()
                self._doorbell.notify()
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await self._connection.drop()  # closing it is also what ends the LISTEN

    async def _listen_until_lost(self) -> None:
        lost = asyncio.Event()
        try:
            connection = await self._connection.get()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, self._heard)
        except Exception as error:  # whatever it is: without a listener polling goes on
            await self._connection.drop()
            log.warning("event_log.cannot_listen", reason=type(error).__name__)
        else:
            self._doorbell.notify()  # whatever came before the LISTEN took hold
            await lost.wait()

    def _heard(self, *_: object) -> None:
        self._doorbell.notify()
