"""Programs that we start, and that never outlive us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class Program:
    """One program of ours, in a session of its own (a Ctrl-C is ours to pass on), its output in a file.

    The kernel sends it `death_signal` when we die, so that even a SIGKILL of ours leaves nothing behind.
    Start it from a thread that lives as long as the process: the kernel's promise is about the thread.
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
        """Of the program itself: the wrappers replace themselves by it."""
        if self.process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self.process.pid

    def spawn(self) -> None:
        """Start it, without waiting until it is of any use."""
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
        """Ask it to stop, wait `grace` seconds, then kill it and whatever it started."""
        stop_all([self], grace)

    def last_words(self, lines: int = 8) -> str:
        """The end of its log, for an error message."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def stop_all(programs: Sequence[Program], grace: float = 5.0) -> None:
    """Stop programs side by side; one that is suspended is woken first; no descendant of theirs survives."""
    running = [program for program in programs if program.running]
    descendants = [child for program in running for child in _descendants(program.pid)]
    for program in running:
        os.kill(program.pid, program.stop_signal)
        os.kill(program.pid, signal.SIGCONT)
    _, stubborn = psutil.wait_procs([psutil.Process(p.pid) for p in running if p.running], timeout=grace)
    for process in stubborn:
        descendants += _descendants(process.pid)
        process.kill()
    _wait_until_gone(descendants, timeout=0.5)
    for orphan in alive(descendants):
        orphan.kill()
    _wait_until_gone(descendants, timeout=grace)
    for program in running:
        if program.process is not None:
            program.process.wait()


def alive(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; one that only waits for its parent to take note of its end does not."""
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
    """A prefix for a command: it gets the signal when our process ends, however that happens (Linux)."""
    if not sys.platform.startswith("linux"):
        return []
    return ["setpriv", "--pdeathsig", death_signal.name.removeprefix("SIG")]


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
