"""`serve --processes N`: several processes behind one address, started again when they die.

All of them take clients of the same listening socket: what one does not take another one takes. The parent
only watches. When it is gone, even by SIGKILL, the pipe that it held closes and the others stop.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import structlog

from shared.cli.running import Failed, code_of, in_loop
from shared.platform import limits
from shared.web.shared_address import NOBODY, SharedAddress, counts_for

if TYPE_CHECKING:
    import socket

    from shared.platform.settings import ServiceSettings

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
WELL_AFTER_SECONDS = 10.0
"""Of running; then the next death counts as the first one."""
GIVE_UP_AFTER = 5
"""Deaths in a row, of every process: none of them can start."""
STOPS = (signal.SIGTERM, signal.SIGINT)
FIGURES = "PROMETHEUS_MULTIPROC_DIR"
"""Where the processes keep their figures; prometheus_client reads it when it is imported."""

log = structlog.get_logger(__name__)


def serve_in(
    processes: int,
    settings: ServiceSettings,
    serving: Callable[[SharedAddress | None], Coroutine[Any, Any, None]],
) -> None:
    """Run the HTTP service in so many processes until a stop signal; with one, in this process.

    `serving` serves at a shared address, or, without one, at the address of the settings. Raises OSError when
    the port is in use, and Failed when no process can start.
    """
    if processes == 1:
        in_loop(serving(None))
        return
    service = settings.prefix().rstrip("_").lower()
    with TemporaryDirectory(prefix=f"{service}-figures-") as figures:
        os.environ[FIGURES] = figures
        from shared.web.server import listening  # noqa: PLC0415 - it imports prometheus_client

        with listening(settings.host, settings.port) as listener:
            Processes(service, processes, listener, serving).keep()


@dataclass
class _Child:
    """A process, or the moment at which it is to be started (on the monotonic clock)."""

    place: int
    pid: int | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0

    def died(self) -> float:
        """Record a death and return the seconds until the next start."""
        now = time.monotonic()
        self.pid = None
        self.deaths = 1 if now - self.started_at > WELL_AFTER_SECONDS else self.deaths + 1
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** (self.deaths - 1), LONGEST_PAUSE_SECONDS)
        self.start_at = now + pause
        return pause


class Processes:
    """The parent: it starts the processes, starts again those that die, and ends them all."""

    def __init__(
        self,
        service: str,
        number: int,
        listener: socket.socket,
        serving: Callable[[SharedAddress], Coroutine[Any, Any, None]],
    ) -> None:
        self._service = service
        self._listener = listener
        self._serving = serving
        listener.setblocking(False)
        self._children = [_Child(place) for place in range(number)]
        self._clients = counts_for(number)
        self._stopping = False
        self._parent_lives, self._held = os.pipe()
        self._wakes, self._waker = os.pipe()

    def keep(self) -> None:
        """Keep all running until a stop signal, then end them within `limits.STOP`."""
        with self._signals():
            try:
                while not self._stopping:
                    self._start_those_due()
                    self._wait(min((child.start_at for child in self._ended()), default=None))
                    self._note_deaths()
            finally:
                self._end()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        before = {number: signal.signal(number, self._stop) for number in STOPS}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._pass_on)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, _: object) -> None:
        """Have all processes take their files of settings again."""
        for child in self._children:
            if child.pid is not None:
                os.kill(child.pid, number)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _wait(self, until: float | None) -> None:
        """Wait for a signal, at most until this moment."""
        seconds = None if until is None else max(0.0, until - time.monotonic())
        if select.select([self._wakes], [], [], seconds)[0]:
            os.read(self._wakes, 4096)

    def _ended(self) -> Sequence[_Child]:
        return [child for child in self._children if child.pid is None]

    def _start_those_due(self) -> None:
        for child in self._ended():
            if not self._stopping and child.start_at <= time.monotonic():
                child.started_at, child.pid = time.monotonic(), self._forked(child.place)
                log.info("process.started", pid=child.pid)

    def _forked(self, place: int) -> int:
        """Start a process and return its id; it does not return from here itself."""
        # No signal may reach the new process while it still has the handlers of its parent.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (*STOPS, signal.SIGHUP))
        sys.stdout.flush()
        sys.stderr.flush()
        if pid := os.fork():
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return pid
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (*STOPS, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it can: it reads its files now
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for unused in (self._held, self._wakes, self._waker):
                os.close(unused)
            code = code_of(self._service, lambda: in_loop(self._served(place)))
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)

    async def _served(self, place: int) -> None:
        """Serve until a stop signal or until the parent is gone."""
        loop = asyncio.get_running_loop()

        def orphaned() -> None:
            loop.remove_reader(self._parent_lives)
            signal.raise_signal(signal.SIGTERM)

        loop.add_reader(self._parent_lives, orphaned)
        await self._serving(SharedAddress(self._listener, self._clients, place))

    def _note_deaths(self) -> None:
        for child, code in self._reaped():
            if not self._stopping:
                pause = child.died()
                log.error("process.died", exit_code=code, again_in_seconds=round(pause, 1))
        if not self._stopping and all(child.deaths >= GIVE_UP_AFTER for child in self._children):
            raise Failed(f"No process can start. `{self._service} doctor` checks every dependency.")

    def _reaped(self) -> Iterator[tuple[_Child, int]]:
        """Yield the processes that have ended, with their exit codes; of a signal it is negative."""
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - see FIGURES

        for child in self._children:
            if child.pid is None:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._clients[child.place] = NOBODY
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
                child.pid = None
                yield child, os.waitstatus_to_exitcode(status)

    def _end(self) -> None:
        self._stopping = True
        self._listener.close()
        deadline = time.monotonic() + limits.STOP
        self._send(signal.SIGTERM)
        while len(self._ended()) < len(self._children) and time.monotonic() < deadline:
            self._wait(deadline)
            self._note_deaths()
        self._send(signal.SIGKILL)
        for child in self._children:
            if child.pid is not None:
                os.waitpid(child.pid, 0)
        for end in (self._parent_lives, self._held, self._wakes, self._waker):
            os.close(end)

    def _send(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)
