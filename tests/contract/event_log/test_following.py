"""Following a log: each event once, in order, soon."""

import asyncio
from uuid import uuid4

from shared.event_log import EventLog
from tests.support.event_log import new_event


async def followed(log: EventLog, after: int, count: int, batch: int = 500) -> list[int]:
    positions: list[int] = []
    async for events in log.tail(after, batch=batch):
        assert len(events) <= batch
        positions += [event.position for event in events]
        if len(positions) >= count:
            break
    return positions


async def test_a_tail_gives_what_is_there_and_then_what_comes(log: EventLog) -> None:
    stream = uuid4()
    await log.append([new_event(stream, version) for version in range(1, 8)])
    following = asyncio.create_task(followed(log, after=2, count=8, batch=3))

    for version in range(8, 11):
        await log.append([new_event(stream, version)])

    assert await asyncio.wait_for(following, 5) == list(range(3, 11))


async def test_many_tails_and_many_writers(log: EventLog) -> None:
    following = [asyncio.create_task(followed(log, 0, 200, batch=7)) for _ in range(3)]

    await asyncio.gather(*(log.append([new_event(uuid4(), 1)]) for _ in range(200)))

    for positions in await asyncio.wait_for(asyncio.gather(*following), 10):
        assert positions == list(range(1, 201))


async def test_waiting_ends_when_something_comes(log: EventLog) -> None:
    waiting = asyncio.create_task(log.wait_beyond(0, timeout=5))
    await asyncio.sleep(0)

    await log.append([new_event(uuid4(), 1)])

    assert await waiting is True


async def test_waiting_ends_at_once_when_something_is_there(log: EventLog) -> None:
    await log.append([new_event(uuid4(), 1)])

    assert await asyncio.wait_for(log.wait_beyond(0, timeout=60), 5) is True


async def test_waiting_ends_after_its_time(log: EventLog) -> None:
    assert await log.wait_beyond(0, timeout=0.05) is False
    assert await log.wait_beyond(0, timeout=0) is False
