"""Keeps the local stack's processes running: one that dies is started again, on the same ports."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from infra.local.processes import Program

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # seconds
WELL_AGAIN_AFTER = 10.0  # seconds of running after which a death counts as a first one again
GIVE_UP_AFTER = 5  # deaths in a row of something that was never of use: it never will be


class StartFailed(Exception):
    """Something of the local stack does not start; the text says what, and shows the end of its log."""


@dataclass
class Child:
    """A program under supervision, and how to see that it is of use."""

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
        """Note a death; how many seconds to wait before it is started again."""
        now = time.monotonic()
        self.deaths = 1 if now - self.started_at > WELL_AGAIN_AFTER else self.deaths + 1
        delay = min(FIRST_DELAY * 3.0 ** (self.deaths - 1), LONGEST_DELAY)
        self.start_at = now + delay
        return delay


class Supervisor:
    """Looks after children; `tick` is called every so often by whoever waits for something."""

    def __init__(self, say: Callable[[str], None], restarted: Callable[[], None]) -> None:
        self.children: list[Child] = []
        self._say = say
        self._restarted = restarted

    def start(self, *children: Child) -> None:
        for child in children:
            child.start()
            self.children.append(child)

    def adopt(self, child: Child) -> None:
        """Look after one that runs already."""
        child.started_at, child.was_ready = time.monotonic(), True
        self.children.append(child)

    def tick(self) -> None:
        """Start again what died and has waited long enough."""
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
        """Return when all are of use; raises StartFailed."""
        deadline = time.monotonic() + timeout
        waiting = list(children)
        while waiting := [child for child in waiting if not child.is_ready()]:
            if time.monotonic() > deadline:
                raise StartFailed(f"not ready after {timeout:.0f} s: {_obituaries(waiting)}")
            self.tick()
            time.sleep(0.03)
        for child in children:
            child.was_ready = True

    def _note_death(self, child: Child) -> None:
        process = child.program.process
        code = None if process is None else process.returncode
        delay = child.died()
        if not child.was_ready and child.deaths >= GIVE_UP_AFTER:
            raise StartFailed(f"died again and again: {_obituaries([child])}")
        self._say(f"{child.program.name} died ({_cause(code)}): starting it again in {delay:.1f} s")


def _cause(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _obituaries(children: Sequence[Child]) -> str:
    return "\n".join(
        f"{child.program.name}; {child.program.log} ends:\n{child.program.last_words()}" for child in children
    )
