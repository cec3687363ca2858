"""Hears of other processes' events: LISTEN as a hint. When it is deaf for a while, polling finds them."""

from __future__ import annotations

import asyncio

import structlog

from shared.event_log.connection import HeldConnection
from shared.event_log.doorbell import Doorbell

CHANNEL = "event_log"
PAUSE_SECONDS = 1.0

_log = structlog.get_logger()


class Listener:
    """Rings the doorbell whenever any process appended to this log."""

    def __init__(self, connection: HeldConnection, doorbell: Doorbell) -> None:
        self._connection = connection
        self._doorbell = doorbell

    async def run(self) -> None:
        """Listen from the first time that somebody waits, on a new connection when one is lost."""
        try:
            await self._doorbell.awaited.wait()
            while True:
                await self._listen_until_lost()
                self._doorbell.ring()
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
            _log.warning("event_log.cannot_listen", reason=type(error).__name__)
        else:
            self._doorbell.ring()  # whatever came before the LISTEN took hold
            await lost.wait()

    def _heard(self, *_: object) -> None:
        self._doorbell.ring()
