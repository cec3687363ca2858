"""A clean stop on SIGTERM and SIGINT, and tasks that are started again when they fail."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import structlog
from prometheus_client import Counter

from shared.platform.retry import keep_running

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FAILURES = Counter("worker_task_failures_total", "Tasks of a worker that had to be started again", ["task"])
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0

Task = Callable[[], Awaitable[object]]

log = structlog.get_logger(__name__)


class TaskEnded(Exception):
    """A task failed or ended; the text names the task and the cause."""


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """Return an event that the first SIGTERM or SIGINT sets; restore the former handlers at the end."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


async def supervise(tasks: Mapping[str, Task], stopping: asyncio.Event) -> None:
    """Run all tasks until `stopping` is set; then cancel them and wait until they have cleaned up."""
    running = [asyncio.create_task(_keep_running(name, task), name=name) for name, task in tasks.items()]
    try:
        await stopping.wait()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def every(seconds: float, action: Task) -> None:
    """Run the action now, and again after each pause of so many seconds."""
    while True:
        await action()
        await asyncio.sleep(seconds)


async def _keep_running(name: str, task: Task) -> None:
    await keep_running(
        partial(_run, name, task),
        action="task.failed",
        on=TaskEnded,
        report=log.error,
        first=FIRST_PAUSE_SECONDS,
        longest=LONGEST_PAUSE_SECONDS,
    )


async def _run(name: str, task: Task) -> None:
    try:
        await task()
    except (Exception, asyncio.CancelledError) as error:
        if _is_stopping(error):
            raise
        FAILURES.labels(name).inc()
        raise TaskEnded(f"{name}: {type(error).__name__}: {error}") from error
    FAILURES.labels(name).inc()
    raise TaskEnded(f"{name}: it ended, although it should run until it is stopped")


def _is_stopping(error: BaseException) -> bool:
    """Return whether this task was cancelled: a library that cancels its own work must not end a task."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
