"""Who waits for new events can be stopped at any moment."""

import asyncio

import pytest

from shared.event_log import InMemoryEventLog
from shared.event_log.notifier import Notifier, tail
from shared.event_log.types import RecordedEvent
from tests.support.eventually import TURNS


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", range(TURNS))
async def test_a_stop_together_with_a_notification_stops(turns: int) -> None:
    notifier = Notifier()
    waiting = asyncio.create_task(notifier.wait_beyond(0, 5))
    await _turns(TURNS)  # so that it waits
    notifier.notify(1)
    await _turns(turns)
    if not waiting.done():
        waiting.cancel()
        await asyncio.wait([waiting], timeout=1)
        assert waiting.cancelled()


@pytest.mark.parametrize("turns", range(TURNS))
async def test_a_follower_that_is_stopped_as_an_event_comes_does_stop(turns: int) -> None:
    log = InMemoryEventLog()

    async def follow() -> None:
        async for _ in log.tail(0):
            pass

    following = asyncio.create_task(follow())
    await _turns(TURNS)  # so that it waits
    log._notifier.notify(1)
    await _turns(turns)
    following.cancel()
    await asyncio.wait([following], timeout=1)
    assert following.cancelled()


async def test_a_follower_that_is_told_of_events_that_are_not_there_does_not_ask_without_pause() -> None:
    """As after a restore of the database under a running process."""
    log, reads = InMemoryEventLog(), list[int]()

    class Counted:
        async def read(self, after: int, limit: int) -> list[RecordedEvent]:
            reads.append(after)
            return await log.read(after, limit)

    notifier = Notifier()
    notifier.notify(5)

    async def follow() -> None:
        async for _ in tail(Counted(), notifier, 0, 10):
            pass

    following = asyncio.create_task(follow())
    await _turns(50)
    assert reads == [0]
    following.cancel()
    await asyncio.wait([following], timeout=1)
