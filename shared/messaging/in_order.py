"""Apply a subject's messages once each, in stream order, and fill gaps from the feed (I8, ADR 0003)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import asyncpg

from shared.event_log.aggregate_store import retry_on_conflict
from shared.event_log.errors import SideRowConflict
from shared.event_log.types import SideRow
from shared.messaging import metrics
from shared.messaging.envelope import Message
from shared.messaging.errors import Diverged, MissingVersion
from shared.messaging.feed import Feed

MOST_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class InboxCursor:
    """The last version applied of the message's guest, whether its messages stand in line, and whether this
    very message was applied (or passed over) before."""

    last_version: int
    is_parked: bool
    is_known: bool


class InboxCursors:
    """Answers where guests stand. What is asked while a question is under way goes into the next one."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._asked: list[tuple[Message, asyncio.Future[InboxCursor]]] = []
        self._answering: asyncio.Task[None] | None = None

    async def of(self, message: Message) -> InboxCursor:
        """Where its guest stands with this message, as committed after this call began."""
        answer: asyncio.Future[InboxCursor] = asyncio.get_running_loop().create_future()
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

    async def _answer(self, asked: Sequence[tuple[Message, "asyncio.Future[InboxCursor]"]]) -> None:
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
                answer.set_result(InboxCursor(row["last_version"] or 0, row["is_parked"], row["is_known"]))


# The last version is one step back along the key: how many messages a guest ever had does not matter.
_ASK = """
SELECT (SELECT stream_version FROM inbox WHERE inbox.guest_id = asked.guest_id
         ORDER BY stream_version DESC LIMIT 1) AS last_version,
       EXISTS (SELECT FROM held_guests WHERE held_guests.guest_id = asked.guest_id) AS is_parked,
       EXISTS (SELECT FROM inbox
                WHERE inbox.guest_id = asked.guest_id AND inbox.stream_version = asked.stream_version
                  AND coalesce(inbox.event_id, asked.event_id) = asked.event_id) AS is_known
  FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) WITH ORDINALITY
       AS asked (guest_id, stream_version, event_id, number)
 ORDER BY number
"""

Handler = Callable[[Message, SideRow], Awaitable[None]]
"""A use case. It must put the given row into its append, also when that has no event: the row is the win."""


class MessageFailed(Exception):
    """This message is the one in the way; `__cause__` tells why."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.type)
        self.message = message


class InOrder:
    """Brings guests up to date with the other service's messages. Harmless when several do it at once."""

    def __init__(self, pool: asyncpg.Pool, feed: Feed, handle: Handler) -> None:
        self._pool = pool
        self._feed = feed
        self._handle = handle

    async def catch_up(
        self, guest_id: UUID, messages: Sequence[Message], last_version: int | None = None
    ) -> None:
        """Applies those of the messages that are not applied yet, and what is missing before them.

        `last_version`: the last one applied, for those who know it already.
        Raises what the handler raises within MessageFailed, FeedUnavailable, MissingVersion and Diverged.
        """
        last = await self._last_version(guest_id) if last_version is None else last_version
        known = [message for message in messages if message.stream_version <= last]
        fresh = _by_version(message for message in messages if message.stream_version > last)
        await self._drop(known)
        if fresh and (not _follows(last, fresh) or _some_were_erased(fresh)):
            fresh = await self._fill_gaps(guest_id, last, fresh)
        for version in sorted(fresh):
            await self._apply(fresh[version])

    async def _last_version(self, guest_id: UUID) -> int:
        # One step back along the key: how many messages the guest ever had does not matter.
        last = await self._pool.fetchval(
            "SELECT stream_version FROM inbox WHERE guest_id = $1 ORDER BY stream_version DESC LIMIT 1",
            guest_id,
        )
        return last or 0

    async def _drop(self, known: Sequence[Message]) -> None:
        for message in known:
            if not await self._is_applied(message):
                raise MessageFailed(message) from Diverged()
            metrics.dropped.inc()

    async def _is_applied(self, message: Message) -> bool:
        """Whether this very message had its effect, or was passed over."""
        found = await self._pool.fetchval(
            """
            SELECT true FROM inbox
             WHERE guest_id = $1 AND stream_version = $2 AND coalesce(event_id, $3) = $3
            """,
            message.subject,
            message.stream_version,
            message.id,
        )
        return found is not None

    async def _fill_gaps(self, guest_id: UUID, last: int, fresh: dict[int, Message]) -> dict[int, Message]:
        fetched = await self._feed.of_guest(guest_id, after_version=last)
        complete = _by_version([*fetched, *fresh.values()])
        if not _follows(last, complete):
            raise MissingVersion
        return complete

    async def _apply(self, message: Message) -> None:
        row = _inbox_row(message)
        try:
            await retry_on_conflict(partial(self._handle, message, row))
        except Exception as error:
            # Whoever came first may have changed the ground under this decision: then all is well.
            if await self._is_applied(message):
                metrics.dropped.inc()
                return
            raise MessageFailed(message) from (Diverged() if _is_inbox_conflict(error) else error)
        metrics.applied.labels(message.type).inc()


def _by_version(messages: Iterable[Message]) -> dict[int, Message]:
    """The messages by version; the same one may come twice, two different ones may not."""
    by_version: dict[int, Message] = {}
    for message in messages:
        if by_version.setdefault(message.stream_version, message).id != message.id:
            raise MessageFailed(message) from Diverged()
    return by_version


def _some_were_erased(messages: dict[int, Message]) -> bool:
    """Some came before the guest was erased, and some after: the feed tells all as they are now (R19)."""
    return len({message.erased for message in messages.values()}) > 1


def _follows(last: int, messages: dict[int, Message]) -> bool:
    return sorted(messages) == list(range(last + 1, last + 1 + len(messages)))


def _inbox_row(message: Message) -> SideRow:
    return SideRow(
        "inbox",
        {"guest_id": message.subject, "stream_version": message.stream_version, "event_id": message.id},
    )


def _is_inbox_conflict(error: Exception) -> bool:
    return isinstance(error, SideRowConflict) and error.constraint == "inbox_pkey"
