"""Time in tests: wait for a condition instead of sleeping, and run things at once in a chosen order."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar, cast, overload

T = TypeVar("T")


@overload
async def eventually(
    condition: Callable[[], Awaitable[T]], within: float = 30.0, every: float = 0.02
) -> T: ...
@overload
async def eventually(condition: Callable[[], T], within: float = 30.0, every: float = 0.02) -> T: ...
async def eventually(
    condition: Callable[[], T] | Callable[[], Awaitable[T]], within: float = 30.0, every: float = 0.02
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

_piece: ContextVar[asyncio.Task[None] | None] = ContextVar("_piece", default=None)
"""The piece of work that the present task is part of."""


class _Pause(NamedTuple):
    """Where a piece of work waits, and what may be raised there."""

    here: asyncio.Future[None]
    piece: asyncio.Task[None] | None
    fault: Exception | None


class Interleaver:
    """Resumes one paused piece of work at a time: whoever uses it decides what goes on, starts or crashes.

    `after_each` runs after each such step: it does not pause.
    """

    def __init__(self, after_each: Callable[[], Awaitable[None]]) -> None:
        self._after_each = after_each
        self._calm = True
        self._paused: list[_Pause] = []
        self._running: list[asyncio.Task[None]] = []

    async def pause(self, fault: Exception | None = None) -> None:
        """Wait to be chosen; when nothing runs at once, there is nothing to wait for.

        `fault`: what may be raised here instead.
        """
        if self._calm:
            return
        here: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._paused.append(_Pause(here, _piece.get(), fault))
        await here

    async def start(self, work: Work) -> None:
        """Start a piece of work, and let it come to its first pause."""
        self._calm = False
        self._running.append(asyncio.create_task(_as_a_piece(work)))
        await self._settle()

    async def go_on(self, number: int) -> bool:
        """Let one paused piece come to its next pause; return False when none is paused."""
        if not self._paused:
            return False
        self._paused.pop(number % len(self._paused)).here.set_result(None)
        await self._settle()
        return True

    async def fail(self, number: int) -> None:
        """Raise the fault of one paused piece that has one."""
        faulty = [paused for paused in self._paused if paused.fault is not None]
        if faulty:
            chosen = faulty[number % len(faulty)]
            assert chosen.fault is not None
            chosen.here.set_exception(chosen.fault)
            await self._settle()

    async def crash(self, number: int) -> None:
        """End a paused piece where it is, as a killed process does."""
        if self._paused:
            piece = self._paused[number % len(self._paused)].piece
            if piece is not None:
                piece.cancel()
            await self._settle()

    async def be_calm(self) -> None:
        """Let all pieces end; from now on nothing pauses."""
        while await self.go_on(0):
            pass
        assert not self._running, "a piece waits for something that nobody brings"
        self._calm = True

    def pause_no_more(self) -> None:
        """After a run that failed: what is cancelled now pauses nowhere on its way out."""
        self._calm = True

    async def _settle(self) -> None:
        """Run until everything is paused or done. Raises what a piece raised."""
        ready = getattr(asyncio.get_running_loop(), "_ready")  # noqa: B009  (private; what would run next)
        await asyncio.sleep(0)
        while ready:  # noqa: ASYNC110  (no event says that nothing is left to run)
            await asyncio.sleep(0)
        self._paused = [paused for paused in self._paused if not paused.here.done()]
        ended = [task for task in self._running if task.done()]
        self._running = [task for task in self._running if not task.done()]
        for task in ended:
            if not task.cancelled():
                task.result()
        await self._after_each()


async def _as_a_piece(work: Work) -> None:
    _piece.set(asyncio.current_task())
    await work()
