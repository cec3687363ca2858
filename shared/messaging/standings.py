"""Where the inbox stands with a guest: asked before every message, so asked for many guests at a time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from shared.messaging.envelope import Message

MOST_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """The last version applied of the message's guest, whether its messages stand in line, and whether this
    very message was applied (or passed over) before."""

    last_version: int
    is_held: bool
    is_known: bool


class Standings:
    """Answers where guests stand. What is asked while a question is under way goes into the next one."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._asked: list[tuple[Message, asyncio.Future[Standing]]] = []
        self._answering: asyncio.Task[None] | None = None

    async def of(self, message: Message) -> Standing:
        """Where its guest stands with this message, as committed after this call began."""
        answer: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()
        self._asked.append((message, answer))
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked[:MOST_AT_A_TIME], self._asked[MOST_AT_A_TIME:]
                await self._answer(asked)
        finally:
            self._answering = None

    async def _answer(self, asked: Sequence[tuple[Message, "asyncio.Future[Standing]"]]) -> None:
        try:
            rows = await self._pool.fetch(
                _ASK,
                [message.subject for message, _ in asked],
                [message.stream_version for message, _ in asked],
                [message.id for message, _ in asked],
            )
        except Exception as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), row in zip(asked, rows, strict=True):
            if not answer.done():  # else its caller was cancelled
                answer.set_result(Standing(row["last_version"] or 0, row["is_held"], row["is_known"]))


# The last version is one step back along the key: how many messages a guest ever had does not matter.
_ASK = """
SELECT (SELECT stream_version FROM inbox WHERE inbox.guest_id = asked.guest_id
         ORDER BY stream_version DESC LIMIT 1) AS last_version,
       EXISTS (SELECT FROM held_guests WHERE held_guests.guest_id = asked.guest_id) AS is_held,
       EXISTS (SELECT FROM inbox
                WHERE inbox.guest_id = asked.guest_id AND inbox.stream_version = asked.stream_version
                  AND coalesce(inbox.event_id, asked.event_id) = asked.event_id) AS is_known
  FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) WITH ORDINALITY
       AS asked (guest_id, stream_version, event_id, number)
 ORDER BY number
"""
