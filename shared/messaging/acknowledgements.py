"""Acknowledge deliveries: what is done at the same moment, together."""

import asyncio

import aiormq


class Acknowledgements:
    """Acknowledges the deliveries of one channel, in any order; the broker numbers them from 1."""

    def __init__(self, channel: aiormq.Channel) -> None:
        self._channel = channel
        self._sending = asyncio.Lock()
        self._new: set[int] = set()
        self._ahead: set[int] = set()
        self._up_to = 0
        """All deliveries up to this one are done; of later ones, those in `_ahead`."""

    async def add(self, tag: int) -> None:
        """Acknowledge a delivery; those that are done at the same moment are acknowledged together."""
        self._new.add(tag)
        await asyncio.sleep(0)
        async with self._sending:
            if tag in self._new:
                await self._send()

    async def _send(self) -> None:
        new, self._new = self._new, set()
        self._ahead |= new
        while self._up_to + 1 in self._ahead:
            self._up_to += 1
            self._ahead.remove(self._up_to)
        # The broker refuses a number that was acknowledged before.
        if through := max((tag for tag in new if tag <= self._up_to), default=0):
            await self._channel.basic_ack(through, multiple=True, wait=False)
        for ahead in new & self._ahead:
            await self._channel.basic_ack(ahead, wait=False)
