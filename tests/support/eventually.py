"""Time in tests: wait for a condition instead of sleeping, and run things at once in a chosen order."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], within: float = 10.0, every: float = 0.02
) -> T: ...
@overload
async def eventually(condition: Callable[[], T], within: float = 10.0, every: float = 0.02) -> T: ...
async def eventually(
    condition: Callable[[], T] | Callable[[], Awaitable[T]], within: float = 10.0, every: float = 0.02
) -> T:
    """What `condition` returns as soon as that is true (or not empty); fails after `within` seconds.

    An AssertionError of the condition counts as "not yet", and is what the test fails with in the end.
    """
    deadline = time.monotonic() + within
    while True:
        late = time.monotonic() > deadline
        try:
            answer = condition()
            value = cast("T", await answer if inspect.isawaitable(answer) else answer)
        except AssertionError:
            if late:
                raise
        else:
            if value:
                return value
            if late:
                raise AssertionError(f"still {value!r} after {within} s")
        await asyncio.sleep(every)


def until(condition: Callable[[], object], within: float, every: float = 0.02) -> None:
    """Return as soon as `condition` is true; fail after `within` seconds. For tests without an event loop."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not so after {within} s"
        time.sleep(every)


# Enough turns of the event loop for everything that is not paused to come to its next pause.
TURNS = 8

Work = Callable[[], Coroutine[Any, Any, None]]


class Interleaver:
    """Resumes one paused piece of work at a time. `choose(n)` returns a number below n."""

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
