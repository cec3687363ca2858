"""The supervisor, with real programs: what dies is started again, what hangs is stopped, nothing is left."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.processes import Child, Program, StartFailed, Supervisor, alive, stop_all

SLEEPS = "import time; time.sleep(600)"
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
)
WITH_A_CHILD = (
    "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); print(flush=True); time.sleep(600)"
)


class Watched:
    """A supervisor and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.rewritten = 0
        self.supervisor = Supervisor(self.said.append, self._restarted)

    def child(self, name: str, script: str) -> Child:
        program = Program(name, [sys.executable, "-c", script], self.folder / f"{name}.log")
        return Child(program, is_ready=lambda: program.running)

    def until(self, condition: Callable[[], object], within: float = 5.0) -> float:
        """Tick until it is so; how long that took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() - began < within, self.said
            self.supervisor.tick()
            time.sleep(0.01)
        return time.monotonic() - began

    def _restarted(self) -> None:
        self.rewritten += 1


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    stop_all([child.program for child in watched.supervisor.children], grace=0.2)


def test_a_child_that_died_runs_again_within_half_a_second_and_it_is_said(watched: Watched) -> None:
    child = watched.child("worker", SLEEPS)
    watched.supervisor.start(child)
    watched.supervisor.wait_until_ready([child], timeout=5)
    before = child.program.pid
    os.kill(before, signal.SIGKILL)
    assert watched.until(lambda: child.program.pid != before) < 0.5
    assert "worker died (signal 9)" in watched.said[0]
    assert str(child.program.pid) in watched.said[1]
    assert watched.rewritten == 1


def test_one_that_dies_again_and_again_is_started_ever_later_up_to_five_seconds(watched: Watched) -> None:
    child = watched.child("worker", SLEEPS)
    child.started_at = time.monotonic()
    delays = [child.died() for _ in range(8)]
    assert delays[0] <= 0.2
    assert delays == sorted(delays)
    assert delays[-1] == 5.0
    child.started_at = time.monotonic() - 60
    assert child.died() == delays[0]


def test_one_that_never_was_of_use_is_given_up_with_its_last_words(watched: Watched) -> None:
    child = watched.child("broken", "print('no such setting: X'); raise SystemExit(3)")
    child.is_ready = lambda: False
    watched.supervisor.start(child)
    with pytest.raises(StartFailed, match=r"(?s)broken.*no such setting: X"):
        watched.supervisor.wait_until_ready([child], timeout=30)


def test_a_suspended_child_is_no_dead_one(watched: Watched) -> None:
    child = watched.child("worker", SLEEPS)
    watched.supervisor.start(child)
    os.kill(child.program.pid, signal.SIGSTOP)
    for _ in range(20):
        watched.supervisor.tick()
        time.sleep(0.01)
    assert watched.said == []


@pytest.mark.parametrize("suspended", [False, True])
@pytest.mark.parametrize("script", [SLEEPS, DEAF, WITH_A_CHILD], ids=["obedient", "deaf", "with a child"])
def test_stopping_leaves_nothing_whatever_it_is_doing(watched: Watched, script: str, suspended: bool) -> None:
    child = watched.child("stubborn", script)
    watched.supervisor.start(child)
    watched.until(lambda: script is SLEEPS or child.program.log.read_bytes())
    process = psutil.Process(child.program.pid)
    family = [process, *process.children(recursive=True)]
    assert len(family) == (2 if script is WITH_A_CHILD else 1)
    if suspended:
        process.suspend()
    began = time.monotonic()
    stop_all([child.program], grace=0.5)
    assert time.monotonic() - began < 3
    assert not alive(family)
