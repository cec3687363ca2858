"""Programs that the local stack starts, restarts when they die, and stops before it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class Program:
    """One program in its own session, with its output in a file.

    Because of its own session Ctrl-C does not reach it: this process decides when it stops. The kernel sends
    it `death_signal` when this process dies, even by SIGKILL, so that nothing is left behind. Call `spawn`
    from a thread that lives as long as this process: the kernel sends the signal when that thread ends.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The id of the program itself: the command prefixes replace themselves by it."""
        if self.process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self.process.pid

    def spawn(self) -> None:
        """Start it, without waiting until it is ready."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*dies_with_us(self.death_signal), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if self.environment is None else dict(self.environment),
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self, grace: float = 5.0) -> None:
        """Ask it to stop, wait `grace` seconds, then kill it and its descendants."""
        stop_all([self], grace)

    def last_words(self, lines: int = 8) -> str:
        """Return the end of its log, for an error message."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def stop_all(programs: Sequence[Program], grace: float = 5.0) -> None:
    """Stop programs side by side, and kill the descendants that they leave.

    A suspended program is resumed, so that it can handle its stop signal.
    """
    running = [program for program in programs if program.running]
    descendants = [child for program in running for child in _descendants(program.pid)]
    for program in running:
        os.kill(program.pid, program.stop_signal)
        os.kill(program.pid, signal.SIGCONT)
    _, stubborn = psutil.wait_procs([psutil.Process(p.pid) for p in running if p.running], timeout=grace)
    for process in stubborn:
        descendants += _descendants(process.pid)
        _kill(process)
    _wait_until_gone(descendants, timeout=0.5)
    for orphan in alive(descendants):
        _kill(orphan)
    _wait_until_gone(descendants, timeout=grace)
    for program in running:
        if program.process is not None:
            program.process.wait()


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):  # it ended by itself just now
        process.kill()


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that still run. A zombie, which only waits for its parent, does not run."""
    return [process for process in processes if process.is_running() and not _is_zombie(process)]


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _wait_until_gone(processes: Sequence[psutil.Process], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while alive(processes) and time.monotonic() < deadline:
        time.sleep(0.01)


def dies_with_us(death_signal: signal.Signals) -> list[str]:
    """Return a command prefix: on Linux the command gets the signal when this process ends for any reason."""
    if not sys.platform.startswith("linux"):
        return []
    return ["setpriv", "--pdeathsig", death_signal.name.removeprefix("SIG")]


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # seconds
WELL_AGAIN_AFTER = 10.0  # seconds of running after which the next death counts as the first one
GIVE_UP_AFTER = 5  # deaths in a row of a program that was never ready


class StartFailed(Exception):
    """A part of the local stack does not start. The text names it and shows the end of its log."""


@dataclass
class Child:
    """A program under supervision. `is_ready` returns whether the program can be used."""

    program: Program
    is_ready: Callable[[], bool]
    was_ready: bool = False
    deaths: int = 0
    started_at: float = field(default=0.0, repr=False)
    start_at: float | None = field(default=None, repr=False)

    def start(self) -> None:
        self.program.spawn()
        self.started_at, self.start_at = time.monotonic(), None

    def died(self) -> float:
        """Record a death and set the time of the restart. Return the delay in seconds."""
        now = time.monotonic()
        self.deaths = 1 if now - self.started_at > WELL_AGAIN_AFTER else self.deaths + 1
        delay = min(FIRST_DELAY * 3.0 ** (self.deaths - 1), LONGEST_DELAY)
        self.start_at = now + delay
        return delay


class Supervisor:
    """Restarts children that died. The code that uses it must call `tick` every 0.05 s."""

    def __init__(self, say: Callable[[str], None], restarted: Callable[[], None]) -> None:
        self.children: list[Child] = []
        self._say = say
        self._restarted = restarted

    def start(self, *children: Child) -> None:
        for child in children:
            child.start()
            self.children.append(child)

    def adopt(self, child: Child) -> None:
        """Supervise a program that already runs."""
        child.started_at, child.was_ready = time.monotonic(), True
        self.children.append(child)

    def tick(self) -> None:
        """Restart programs that died and whose delay is over."""
        for child in self.children:
            if child.program.running:
                continue
            if child.start_at is None:
                self._note_death(child)
            elif time.monotonic() >= child.start_at:
                child.start()
                self._say(f"{child.program.name} is started again as process {child.program.pid}")
                self._restarted()

    def wait_until_ready(self, children: Sequence[Child], timeout: float) -> None:
        """Return when all are ready. Raises StartFailed after `timeout` seconds, or when one keeps dying."""
        deadline = time.monotonic() + timeout
        waiting = list(children)
        while waiting := [child for child in waiting if not child.is_ready()]:
            if time.monotonic() > deadline:
                raise StartFailed(f"not ready after {timeout:.0f} s: {_ends_of_logs(waiting)}")
            self.tick()
            time.sleep(0.03)
        for child in children:
            child.was_ready = True

    def _note_death(self, child: Child) -> None:
        process = child.program.process
        code = None if process is None else process.returncode
        delay = child.died()
        if not child.was_ready and child.deaths >= GIVE_UP_AFTER:
            raise StartFailed(f"died {child.deaths} times before it was ready: {_ends_of_logs([child])}")
        self._say(f"{child.program.name} died ({_cause(code)}): it is started again in {delay:.1f} s")


def _cause(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _ends_of_logs(children: Sequence[Child]) -> str:
    return "\n".join(
        f"{child.program.name}. The end of {child.program.log}:\n{child.program.last_words()}"
        for child in children
    )
