"""How batches are taken from the queue of commands by those who write them."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

from shared.event_log.commands import BATCH_EVENTS, Command, CommandQueue
from tests.support.event_log import new_event


def command(*streams: UUID) -> Command:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    return Command([new_event(stream, 1) for stream in streams], [], answer)


async def soon(taking: asyncio.Task[list[Command]]) -> list[Command]:
    return await asyncio.wait_for(taking, 2)


def take(queue: CommandQueue) -> asyncio.Task[list[Command]]:
    return asyncio.create_task(queue.next_batch())


async def test_a2_half_of_what_waits_goes_first_so_that_the_rest_is_under_way_beside_it() -> None:
    queue = CommandQueue()
    commands = [command(uuid4()) for _ in range(9)]
    for each in commands:
        queue.put(each)
    assert await queue.next_batch() == commands[:5]
    assert await queue.next_batch() == commands[5:]


async def test_a2_a_batch_is_bounded_by_its_events() -> None:
    queue = CommandQueue()
    for _ in range(3 * BATCH_EVENTS):
        queue.put(command(uuid4(), uuid4()))
    assert len(await queue.next_batch()) == BATCH_EVENTS // 2


async def test_a2_two_commands_of_one_stream_are_never_under_way_together_and_keep_their_order() -> None:
    queue, stream = CommandQueue(), uuid4()
    first, second, other = command(stream), command(stream), command(uuid4())
    for each in (first, second, other):
        queue.put(each)
    batch = await queue.next_batch()
    assert batch == [first]
    beside = await queue.next_batch()
    assert beside == [other]
    waiting = take(queue)
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.written(beside)
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.written(batch)
    assert await soon(waiting) == [second]


async def test_callers_that_went_away_keep_nobody_waiting() -> None:
    queue = CommandQueue()
    gone, gone_too, stays = (command(uuid4()) for _ in range(3))
    for each in (gone, gone_too, stays):
        queue.put(each)
    gone.answer.cancel()
    gone_too.answer.cancel()
    assert await soon(take(queue)) == [stays]


async def test_whoever_is_idle_is_woken_by_one_more_command_and_all_by_the_end() -> None:
    queue = CommandQueue()
    idle = [take(queue) for _ in range(3)]
    await asyncio.sleep(0)
    one = command(uuid4())
    queue.put(one)
    done, still = await asyncio.wait(idle, return_when=asyncio.FIRST_COMPLETED, timeout=2)
    assert [await each for each in done] == [[one]]
    queue.written([one])
    queue.close()
    assert [await soon(each) for each in still] == [[], []]
