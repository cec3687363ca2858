"""A clean stop on SIGTERM and SIGINT, and tasks that are started again when they fail."""

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog
from prometheus_client import Counter

from shared.platform import limits
from shared.platform.retry import keep_running, raise_if_cancelled

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FAILURES = Counter("worker_task_failures_total", "Tasks of a worker that had to be started again", ["task"])
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
RECOVERED_SECONDS = 2.0

Task = Callable[[], Awaitable[object]]

log = structlog.get_logger(__name__)


class TaskEnded(Exception):
    """A task failed or ended; the text names the task and the cause."""


@contextmanager
def stop_signals() -> Iterator[asyncio.Event]:
    """Return an event that the first SIGTERM or SIGINT sets; restore the former handlers at the end.

    The process is ended when the body takes longer after that than `limits.STOP`.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    # A thread, not a task: it is to help against a loop that does not run any more.
    last_resort = threading.Timer(limits.STOP, _end)
    last_resort.daemon = True

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            last_resort.start()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        yield stopping
    finally:
        last_resort.cancel()
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _end() -> None:
    try:
        log.error("process.stopped_too_late", seconds=limits.STOP)
    finally:  # the reader of the log may be gone already
        os._exit(1)


@contextmanager
def hangups() -> Iterator[asyncio.Event]:
    """Return an event that each SIGHUP sets; who waits for it clears it. The former handler is restored."""
    loop, hung_up = asyncio.get_running_loop(), asyncio.Event()
    before = signal.getsignal(signal.SIGHUP)
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    try:
        yield hung_up
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, before)


class Supervisor:
    """Runs the tasks of a worker, and starts those again that fail or end."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._tasks = tasks
        self._failed: set[str] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Run all tasks until `stopping` is set; then cancel them and give them some seconds to clean up."""
        running = [
            asyncio.create_task(self._keep_running(name, task), name=name)
            for name, task in self._tasks.items()
        ]
        try:
            await stopping.wait()
        finally:
            await end(running, limits.LAST_WORK)

    async def require_running(self) -> None:
        """Raise TaskEnded when a task has failed and has not run for RECOVERED_SECONDS since."""
        if self._failed:
            raise TaskEnded(", ".join(sorted(self._failed)))

    async def _keep_running(self, name: str, task: Task) -> None:
        FAILURES.labels(name)  # shown as 0 from the start, so that an alert sees the first failure
        await keep_running(
            partial(self._run, name, task),
            action="task.failed",
            on=TaskEnded,
            report=log.error,
            first=FIRST_PAUSE_SECONDS,
            longest=LONGEST_PAUSE_SECONDS,
        )

    async def _run(self, name: str, task: Task) -> None:
        recovery = asyncio.get_running_loop().call_later(RECOVERED_SECONDS, self._failed.discard, name)
        try:
            await task()
            cause: BaseException | None = None
        except (Exception, asyncio.CancelledError) as error:
            raise_if_cancelled()  # otherwise a library cancelled its own work, which must not end the task
            cause = error
        finally:
            recovery.cancel()
        self._failed.add(name)
        FAILURES.labels(name).inc()
        how = f"{type(cause).__name__}: {cause}" if cause else "it ended, although it should not"
        raise TaskEnded(f"{name}: {how}") from cause


async def until_stopped(stopping: asyncio.Event, *work: Coroutine[Any, Any, None]) -> None:
    """Run these side by side until `stopping` is set, and return when all have ended.

    When one fails it sets `stopping` for the others, and its error is raised.
    """
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        stopping.set()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException):
            raise error


async def end(tasks: Collection[asyncio.Future[Any]], seconds: float) -> None:
    """Cancel tasks and wait until they have ended. One that does not end in time is logged and left."""
    for task in tasks:
        task.cancel()
    late: Collection[asyncio.Future[Any]] = ()
    if tasks:
        done, late = await asyncio.wait(tasks, timeout=seconds)
        for task in done:
            if not task.cancelled():
                task.exception()  # retrieved: who needs it has asked the task
    for task in late:
        log.error("task.not_ended", task=task.get_name() if isinstance(task, asyncio.Task) else "")


async def every(seconds: float, action: Task) -> None:
    """Run the action now, and again after each pause of so many seconds."""
    while True:
        await action()
        await asyncio.sleep(seconds)
