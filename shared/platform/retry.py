"""Try again after a failure, with growing pauses. The one way for all back-offs.

Only the appender of the event log has its own: it must answer within a deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import stamina
import structlog

T = TypeVar("T")
Errors = type[Exception] | tuple[type[Exception], ...]

log = structlog.get_logger(__name__)


def attempts(on: Errors, first: float, longest: float) -> AsyncIterator[stamina.Attempt]:
    """Return attempts without end; the pause doubles from `first` to `longest` seconds, with some jitter."""
    endless = stamina.retry_context(
        on=on, attempts=None, timeout=None, wait_initial=first, wait_max=longest, wait_jitter=first
    )
    return aiter(endless)


def raise_if_cancelled() -> None:
    """Raise CancelledError when this task is to end: an error of cleaning up may have taken its place."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def keep_trying(
    call: Callable[[], Awaitable[T]], *, action: str, on: Errors, first: float, longest: float
) -> T:
    """Call until it succeeds, and return the result. Each failure is logged under `action`."""

    async def logged() -> T:
        try:
            return await call()
        except on as error:
            raise_if_cancelled()
            log.warning(action, error=type(error).__name__, reason=str(error))
            raise

    try:  # before anything is made for more attempts: mostly there are none
        return await logged()
    except on:
        await asyncio.sleep(first)
    async for attempt in attempts(on, first, longest):
        with attempt:
            return await logged()
    raise AssertionError("attempts without end have ended")


async def keep_running(
    work: Callable[[], Awaitable[object]],
    *,
    action: str,
    on: Errors,
    first: float,
    longest: float,
    report: Callable[..., object] = log.warning,
) -> None:
    """Run work that should not end, and start it again when it fails or ends. Never returns.

    Work that ran for more than `longest` seconds had recovered: the next pause is the first one again.
    """
    while True:
        async for attempt in attempts(on, first, longest):
            began = time.monotonic()
            with attempt:
                try:
                    await work()
                except on as error:
                    raise_if_cancelled()
                    report(action, error=type(error).__name__, reason=str(error))
                    if time.monotonic() - began <= longest:
                        raise
        await asyncio.sleep(first)
