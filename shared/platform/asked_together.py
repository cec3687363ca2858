"""Many questions in one statement: what is asked while one is under way waits for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from shared.platform import limits

Q = TypeVar("Q")
A = TypeVar("A")

MOST_TOGETHER = 200


class AskedTogether(Generic[Q, A]):
    """Gathers questions of one kind. Nobody waits for others to come: a lone question is asked at once.

    `answer_all` returns one answer for each question, in their order. Its error is everybody's who asked in
    that statement, so a question must hold nothing that can make the statement fail. With `most`, so many
    questions at most are in one statement.
    """

    def __init__(
        self, answer_all: Callable[[Sequence[Q]], Awaitable[Sequence[A]]], *, most: int = MOST_TOGETHER
    ) -> None:
        self._answer_all = answer_all
        self._most = most
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """Return the answer, as committed after this call began.

        Raises TimeoutError after `limits.DATABASE`, also when most of it was spent behind a statement that
        nobody answered.
        """
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_all())
        async with asyncio.timeout(limits.DATABASE):
            return await answer

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._ask([(question, answer) for question, answer in batch if not answer.done()])
        finally:
            self._asking = None

    async def _ask(self, batch: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        """Ask together, and set all answers, but of callers who were cancelled meanwhile."""
        try:
            answers = await self._answer_all([question for question, _ in batch]) if batch else []
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
