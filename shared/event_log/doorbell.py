"""Wakes those who wait for new events. A missed ring costs time, never an event: waiters look again."""

from __future__ import annotations

import asyncio
import contextlib


class Doorbell:
    """Rings for everybody who waits. Take `next_ring()` before looking, and wait for it after."""

    def __init__(self) -> None:
        self._ring = asyncio.Event()
        self.awaited = asyncio.Event()
        """Set as soon as somebody wants to hear it: before, nobody need listen for what makes it ring."""

    def next_ring(self) -> asyncio.Event:
        """Give the event that the next ring will set."""
        self.awaited.set()
        return self._ring

    def ring(self) -> None:
        """Wake all who wait now."""
        self._ring.set()
        self._ring = asyncio.Event()


async def wait_for_ring(ring: asyncio.Event, timeout: float) -> None:
    """Wait for the ring or for `timeout` seconds, whichever comes first."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ring.wait(), timeout)
