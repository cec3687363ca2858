"""A worker's tasks must not die unnoticed."""

import asyncio
import signal
import subprocess
import sys

import pytest

from shared.platform import limits
from shared.platform.lifecycle import Supervisor
from tests.support.eventually import eventually


async def test_a_task_that_fails_or_is_cancelled_from_inside_is_started_again_and_stops_with_the_worker() -> (
    None
):
    ends = [ValueError("broken"), asyncio.CancelledError(), None]
    begun: list[int] = []
    ended: list[bool] = []

    async def task() -> None:
        begun.append(len(begun))
        if len(begun) <= len(ends):
            if error := ends[len(begun) - 1]:
                raise error
            return
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    stopping = asyncio.Event()
    supervising = asyncio.create_task(Supervisor({"task": task}).run(stopping))
    await eventually(lambda: len(begun) == 4)
    assert not ended
    stopping.set()
    await supervising
    assert ended == [True]


async def test_tasks_that_do_not_end_do_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAST_WORK", 0.05)
    free = asyncio.Event()

    async def stubborn() -> None:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    stopping = asyncio.Event()
    stopping.set()
    await asyncio.wait_for(Supervisor({"stubborn": stubborn}).run(stopping), 5)
    free.set()


HANGS = """
import asyncio, time
from shared.platform import limits
from shared.platform.lifecycle import stop_signals
limits.STOP = 0.3

async def main():
    with stop_signals() as stopping:
        print("up", flush=True)
        await stopping.wait()
        time.sleep(60)

asyncio.run(main())
"""


def test_a_process_ends_after_a_stop_signal_whatever_hangs() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 1
