"""How writers take batches of commands from the queue, and how a side row is written."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

from asyncpg.pgproto import pgproto

from shared.event_log.append import BATCH_EVENTS, Command, CommandQueue, write_rows
from shared.event_log.types import SideRow
from tests.support.event_log import new_event


def command(*streams: UUID) -> Command:
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    return Command([new_event(stream, 1) for stream in streams], [], answer)


async def soon(taking: asyncio.Task[list[Command]]) -> list[Command]:
    return await asyncio.wait_for(taking, 2)


class Scribe:
    """Writes a batch when the test lets it go on; the reply is the number of commands in the batch."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Command]] = []
        self.goes_on = asyncio.Event()

    async def write(self, batch: Sequence[Command]) -> None:
        self.batches.append(batch)
        await asyncio.sleep(0)
        await self.goes_on.wait()
        for each in batch:
            each.succeed(len(batch))

    async def run(self, queue: CommandQueue) -> None:
        while batch := await queue.next_batch(self):
            await self.write(batch)
            queue.written(batch)


def take(queue: CommandQueue) -> asyncio.Task[list[Command]]:
    return asyncio.create_task(queue.next_batch(Scribe()))


async def turn() -> None:
    """Let all tasks do what can be done now."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_half_of_what_waits_goes_first_so_that_the_rest_is_under_way_beside_it() -> None:
    queue = CommandQueue()
    commands = [command(uuid4()) for _ in range(9)]
    for each in commands:
        queue.put(each)
    assert await queue.next_batch(Scribe()) == commands[:5]
    assert await queue.next_batch(Scribe()) == commands[5:]


async def test_a_batch_is_bounded_by_its_events() -> None:
    queue = CommandQueue()
    for _ in range(3 * BATCH_EVENTS):
        queue.put(command(uuid4(), uuid4()))
    assert len(await queue.next_batch(Scribe())) == BATCH_EVENTS // 2


async def test_two_commands_of_one_stream_are_never_under_way_together_and_keep_their_order() -> None:
    queue, stream = CommandQueue(), uuid4()
    first, second, other = command(stream), command(stream), command(uuid4())
    for each in (first, second, other):
        queue.put(each)
    batch = await queue.next_batch(Scribe())
    assert batch == [first]
    beside = await queue.next_batch(Scribe())
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


async def test_an_idle_writer_is_woken_by_one_more_command_and_all_by_the_end() -> None:
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


async def test_a_lone_command_is_written_by_its_caller_and_those_that_come_meanwhile_by_the_others() -> None:
    queue, first, second = CommandQueue(), Scribe(), Scribe()
    running = [asyncio.create_task(each.run(queue)) for each in (first, second)]
    await turn()
    stream = uuid4()
    lone = asyncio.create_task(queue.submit(command(stream)))
    await turn()
    assert [len(batch) for batch in first.batches] == [1]
    beside = [asyncio.create_task(queue.submit(command(uuid4()))) for _ in range(3)]
    after = asyncio.create_task(queue.submit(command(stream)))
    await turn()
    assert [len(batch) for batch in second.batches] == [3]
    second.goes_on.set()
    assert list(await asyncio.gather(*beside)) == [3, 3, 3]
    assert not lone.done()
    assert not after.done()
    first.goes_on.set()
    assert list(await asyncio.gather(lone, after)) == [1, 1]
    queue.close()
    await asyncio.wait_for(asyncio.gather(*running), 2)


async def test_among_many_nobody_goes_alone() -> None:
    queue, writers = CommandQueue(), [Scribe(), Scribe()]
    running = [asyncio.create_task(each.run(queue)) for each in writers]
    for each in writers:
        each.goes_on.set()
    await turn()
    for _ in range(3):
        await asyncio.gather(*(queue.submit(command(uuid4())) for _ in range(64)))
    sizes = [len(batch) for each in writers for batch in each.batches]
    assert sum(sizes) == 3 * 64
    assert sizes.count(1) <= 3
    assert len(sizes) <= 3 * 8
    queue.close()
    await asyncio.wait_for(asyncio.gather(*running), 2)


async def test_a_caller_that_goes_away_while_it_writes_leaves_the_writer_to_the_others() -> None:
    queue, only = CommandQueue(), Scribe()
    running = asyncio.create_task(only.run(queue))
    await turn()
    stream = uuid4()
    lone = asyncio.create_task(queue.submit(command(stream)))
    await turn()
    later = asyncio.create_task(queue.submit(command(stream)))
    await turn()
    lone.cancel()
    only.goes_on.set()
    assert await asyncio.wait_for(later, 2) == 1
    assert lone.cancelled()
    queue.close()
    await asyncio.wait_for(running, 2)


def test_a_side_row_takes_an_id_from_the_database() -> None:
    plain = uuid4()
    rows = [SideRow("inbox", {"guest_id": each}) for each in (plain, pgproto.UUID(str(plain)))]
    assert write_rows(rows[:1]) == write_rows(rows[1:])
