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

LARGEST_BATCH = 500


@dataclass(frozen=True, slots=True)
class InboxCursor:
    """The state of the inbox for one message.

    `last_version`: the last applied version of its subject. `is_parked`: the subject's messages are parked.
    `is_known`: this very message was applied or skipped before.
    """

    last_version: int
    is_parked: bool
    is_known: bool


class InboxCursors:
    """Reads inbox cursors, many in one query: messages that arrive during a query wait for the next one."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._wanted: list[tuple[Message, asyncio.Future[InboxCursor]]] = []
        self._reading: asyncio.Task[None] | None = None

    async def of(self, message: Message) -> InboxCursor:
        """Return the cursor for a message, as committed after this call began."""
        cursor: asyncio.Future[InboxCursor] = asyncio.get_running_loop().create_future()
        self._wanted.append((message, cursor))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all())
        return await cursor

    async def _read_all(self) -> None:
        try:
            while self._wanted:
                batch, self._wanted = self._wanted[:LARGEST_BATCH], self._wanted[LARGEST_BATCH:]
                await self._read(batch)
        finally:
            self._reading = None

    async def _read(self, batch: Sequence[tuple[Message, "asyncio.Future[InboxCursor]"]]) -> None:
        try:
            rows = await self._pool.fetch(
                _READ_CURSORS,
                [message.subject for message, _ in batch],
                [message.stream_version for message, _ in batch],
                [message.id for message, _ in batch],
            )
        except Exception as error:
            for _, cursor in batch:
                if not cursor.done():
                    cursor.set_exception(error)
            return
        for (_, cursor), row in zip(batch, rows, strict=True):
            if not cursor.done():  # else its caller was cancelled
                cursor.set_result(InboxCursor(row["last_version"] or 0, row["is_parked"], row["is_known"]))


# The last version is one step back along the key, however many messages the subject has.
_READ_CURSORS = """
SELECT (SELECT stream_version FROM inbox WHERE inbox.guest_id = wanted.guest_id
         ORDER BY stream_version DESC LIMIT 1) AS last_version,
       EXISTS (SELECT FROM held_guests WHERE held_guests.guest_id = wanted.guest_id) AS is_parked,
       EXISTS (SELECT FROM inbox
                WHERE inbox.guest_id = wanted.guest_id AND inbox.stream_version = wanted.stream_version
                  AND coalesce(inbox.event_id, wanted.event_id) = wanted.event_id) AS is_known
  FROM unnest($1::uuid[], $2::bigint[], $3::uuid[]) WITH ORDINALITY
       AS wanted (guest_id, stream_version, event_id, number)
 ORDER BY number
"""

Handler = Callable[[Message, SideRow], Awaitable[None]]
"""A use case that applies a message. It must add the given row to its append, also when it has no event:
the row's unique key claims the message, so that the effect happens once."""


class MessageFailed(Exception):
    """This message could not be applied; `__cause__` says why."""

    def __init__(self, message: Message) -> None:
        super().__init__(message.type)
        self.message = message


class InOrder:
    """Applies the other service's messages, in stream order. Several processes may do it at once."""

    def __init__(self, pool: asyncpg.Pool, feed: Feed, handle: Handler) -> None:
        self._pool = pool
        self._feed = feed
        self._handle = handle

    async def catch_up(
        self, subject: UUID, messages: Sequence[Message], last_version: int | None = None
    ) -> None:
        """Apply those of the messages that are not applied yet, and the missing ones before them.

        `last_version`: the last applied version, if the caller knows it.
        Raises MessageFailed (its cause is the handler's error or Diverged), FeedUnavailable, MissingVersion.
        """
        last = await self._last_version(subject) if last_version is None else last_version
        known = [message for message in messages if message.stream_version <= last]
        fresh = _by_version(message for message in messages if message.stream_version > last)
        await self._drop(known)
        if fresh and (not _follows(last, fresh) or _some_were_erased(fresh)):
            fresh = await self._fill_gaps(subject, last, fresh)
        for version in sorted(fresh):
            await self._apply(fresh[version])

    async def _last_version(self, subject: UUID) -> int:
        # One step back along the key, however many messages the subject has.
        last = await self._pool.fetchval(
            "SELECT stream_version FROM inbox WHERE guest_id = $1 ORDER BY stream_version DESC LIMIT 1",
            subject,
        )
        return last or 0

    async def _drop(self, known: Sequence[Message]) -> None:
        for message in known:
            if not await self._is_applied(message):
                raise MessageFailed(message) from Diverged()
            metrics.dropped.inc()

    async def _is_applied(self, message: Message) -> bool:
        """Return whether this very message was applied or skipped."""
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

    async def _fill_gaps(self, subject: UUID, last: int, fresh: dict[int, Message]) -> dict[int, Message]:
        fetched = await self._feed.of_subject(subject, after_version=last)
        complete = _by_version([*fetched, *fresh.values()])
        if not _follows(last, complete):
            raise MissingVersion
        return complete

    async def _apply(self, message: Message) -> None:
        row = _inbox_row(message)
        try:
            await retry_on_conflict(partial(self._handle, message, row))
        except Exception as error:
            # Another process may have applied this message meanwhile, and that may be why this failed.
            if await self._is_applied(message):
                metrics.dropped.inc()
                return
            raise MessageFailed(message) from (Diverged() if _is_inbox_conflict(error) else error)
        metrics.applied.labels(message.type).inc()


def _by_version(messages: Iterable[Message]) -> dict[int, Message]:
    """Map versions to messages. The same message may come twice; two different ones raise MessageFailed."""
    by_version: dict[int, Message] = {}
    for message in messages:
        if by_version.setdefault(message.stream_version, message).id != message.id:
            raise MessageFailed(message) from Diverged()
    return by_version


def _some_were_erased(messages: dict[int, Message]) -> bool:
    """Return whether some are from before the erasure and some from after it; the feed has all as erased."""
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
