"""Questions that are asked at the same time are answered together."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.platform import limits
from shared.platform.asked_together import AskedTogether


class Database:
    """Answers with the double of each number, when it is let; it notes what was asked together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def answer_all(self, numbers: Sequence[int]) -> Sequence[int]:
        self.asked.append(list(numbers))
        await self.free.wait()
        if 13 in numbers:
            raise ConnectionError
        return [2 * number for number in numbers]


@pytest.fixture
def database() -> Database:
    return Database()


async def test_who_asks_alone_is_answered_alone(database: Database) -> None:
    together = AskedTogether(database.answer_all)
    assert [await together.ask(1), await together.ask(2)] == [2, 4]
    assert database.asked == [[1], [2]]


async def test_who_asks_meanwhile_is_answered_by_the_next_statement(database: Database) -> None:
    together = AskedTogether(database.answer_all, most=3)
    database.free.clear()
    first = asyncio.create_task(together.ask(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(together.ask(number)) for number in (2, 3, 4, 5)]
    await asyncio.sleep(0)
    database.free.set()
    assert await asyncio.gather(first, *later) == [2, 4, 6, 8, 10]
    assert database.asked == [[1], [2, 3, 4], [5]]


async def test_an_error_is_everybodys_of_that_statement_and_of_no_other(database: Database) -> None:
    together = AskedTogether(database.answer_all)
    answers = await asyncio.gather(together.ask(13), together.ask(1), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]
    assert await together.ask(1) == 2


async def test_whoever_was_cancelled_leaves_the_others_their_answers(database: Database) -> None:
    together = AskedTogether(database.answer_all)
    database.free.clear()
    first, second, third = (asyncio.create_task(together.ask(number)) for number in (1, 2, 3))
    await asyncio.sleep(0)
    first.cancel()  # before it was asked for
    await asyncio.sleep(0)
    second.cancel()  # while it is
    await asyncio.sleep(0)
    database.free.set()
    assert await third == 6
    assert all(
        isinstance(each, asyncio.CancelledError)
        for each in await asyncio.gather(first, second, return_exceptions=True)
    )
    assert database.asked == [[2, 3]]


async def test_who_asks_behind_a_statement_that_nobody_answers_waits_no_longer_than_for_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DATABASE", 0.05)
    together = AskedTogether(database.answer_all)
    database.free.clear()
    answers = await asyncio.gather(together.ask(1), together.ask(2), return_exceptions=True)
    later = await asyncio.gather(together.ask(3), return_exceptions=True)
    assert [type(answer) for answer in (*answers, *later)] == [TimeoutError] * 3
    database.free.set()
    assert await together.ask(4) == 8
