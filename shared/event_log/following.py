"""How to follow a log: a ring is the hint that something came, looking again is the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import structlog

from shared.event_log.doorbell import Doorbell, wait_for_ring
from shared.event_log.errors import LogUnavailable
from shared.event_log.types import RecordedEvent

POLL_SECONDS = 0.5
"""How long an event may stay unseen when its ring was lost (another process's NOTIFY, a reconnect)."""


_log = structlog.get_logger()


class Readable(Protocol):
    """The part of a log that following it needs."""

    async def read(self, after: int, limit: int) -> list[RecordedEvent]: ...

    async def position(self) -> int: ...


async def tail(
    log: Readable, doorbell: Doorbell, after: int, batch: int
) -> AsyncIterator[list[RecordedEvent]]:
    """Yield the events beyond `after`, each once and in order, and wait for more, for ever.

    While the log is unavailable it waits too: for one who follows, that is only a longer wait.
    """
    while True:
        ring = doorbell.next_ring()
        try:
            events = await log.read(after, batch)
        except LogUnavailable as error:
            _log.warning("event_log.tail_waits", after=after, reason=str(error))
            events = []
        if events:
            after = events[-1].position
            yield events
        else:
            await wait_for_ring(ring, POLL_SECONDS)


async def wait_beyond(log: Readable, doorbell: Doorbell, position: int, timeout: float) -> bool:
    """Wait at most `timeout` seconds for an event beyond `position`; say whether there is one."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        ring = doorbell.next_ring()
        if await log.position() > position:
            return True
        left = deadline - loop.time()
        if left <= 0:
            return False
        await wait_for_ring(ring, min(left, POLL_SECONDS))
