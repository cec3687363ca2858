"""A worker's tasks must not die unnoticed."""

import asyncio

from shared.platform.lifecycle import supervise
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
    supervising = asyncio.create_task(supervise({"task": task}, stopping))
    await eventually(lambda: len(begun) == 4)
    assert not ended
    stopping.set()
    await supervising
    assert ended == [True]
