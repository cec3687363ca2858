"""Running things at once, in an order that the test chooses: at every pause, which one goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

# Enough turns of the event loop for everything that is not paused to come to its next pause.
TURNS = 8

Work = Callable[[], Coroutine[Any, Any, None]]


class Interleaver:
    """Lets one paused piece of work go on at a time. `choose(n)` gives a number below n."""

    def __init__(self, choose: Callable[[int], int]) -> None:
        self._choose = choose
        self._calm = True
        self._paused: list[asyncio.Future[None]] = []

    async def pause(self) -> None:
        """Wait to be chosen; when nothing runs at once, there is nothing to wait for."""
        if self._calm:
            return
        here: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._paused.append(here)
        await here

    async def run(self, work: Sequence[Work]) -> None:
        """Start the pieces in their order, and let paused ones go on in between, until all are done."""
        self._calm = False
        waiting = list(work)
        running: list[asyncio.Task[None]] = []
        while waiting or self._paused:
            chosen = self._choose(len(self._paused) + bool(waiting))
            if chosen < len(self._paused):
                self._paused.pop(chosen).set_result(None)
            else:
                running.append(asyncio.create_task(waiting.pop(0)()))
            for _ in range(TURNS):
                await asyncio.sleep(0)
        self._calm = True
        for task in running:
            await task
