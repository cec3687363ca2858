"""A clean stop on SIGTERM and SIGINT, and tasks that are started again when they fail."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from prometheus_client import Counter

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """An event that is set by the first of the signals; the old handlers are restored afterwards."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    before = {each: signal.getsignal(each) for each in SIGNALS}
    for each in SIGNALS:
        loop.add_signal_handler(each, stopping.set)
    try:
        yield stopping
    finally:
        for each, handler in before.items():
            loop.remove_signal_handler(each)
            signal.signal(each, handler)


log = structlog.get_logger(__name__)

FAILURES = Counter("worker_task_failures_total", "Tasks of a worker that had to be started again", ["task"])
FIRST_PAUSE = 0.2  # seconds
LONGEST_PAUSE = 10.0
STEADY_AFTER = 30.0  # a task that ran this long has recovered: its next pause is short again

Task = Callable[[], Awaitable[object]]


async def supervise(tasks: Mapping[str, Task], stopping: asyncio.Event) -> None:
    """Run all until `stopping` is set; then cancel them and wait until each has ended what it had in hand."""
    running = [asyncio.create_task(_keep_running(name, task), name=name) for name, task in tasks.items()]
    try:
        await stopping.wait()
    finally:
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def every(seconds: float, action: Task) -> None:
    """Do it now, and again each time after that many seconds."""
    while True:
        await action()
        await asyncio.sleep(seconds)


async def _keep_running(name: str, task: Task) -> None:
    pause = FIRST_PAUSE
    while True:
        began = time.monotonic()
        try:
            await task()
            log.error("task_ended", task=name)
        except (Exception, asyncio.CancelledError) as error:
            if _is_stopping(error):
                raise
            log.error("task_failed", task=name, error=type(error).__name__, reason=str(error))
        FAILURES.labels(name).inc()
        pause = FIRST_PAUSE if time.monotonic() - began > STEADY_AFTER else min(2 * pause, LONGEST_PAUSE)
        await asyncio.sleep(pause)


def _is_stopping(error: BaseException) -> bool:
    """Whether somebody cancelled us: a library that cancels its own work must not end a task unnoticed."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
