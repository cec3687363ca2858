"""Applying one guest's messages, each once and in the order of the guest's stream, gaps filled (A5, I8)."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from uuid import UUID

import asyncpg

from shared.event_log.errors import SideRowConflict, VersionConflict
from shared.event_log.types import SideRow
from shared.messaging import metrics
from shared.messaging.envelope import Message
from shared.messaging.errors import Diverged, MissingVersion, TryAgain
from shared.messaging.feed import Feed

Handler = Callable[[Message, SideRow], Awaitable[None]]
"""A use case. It must put the given row into its append, also when that has no event: the row is the win."""

MOST_DECISIONS = 50


class Stuck(Exception):
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
        Raises what the handler raises within Stuck, FeedUnavailable, MissingVersion and Diverged.
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
                raise Stuck(message) from Diverged()
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
            await self._decide(message, row)
        except Exception as error:
            # Whoever came first may have changed the ground under this decision: then all is well.
            if await self._is_applied(message):
                metrics.dropped.inc()
                return
            raise Stuck(message) from (Diverged() if _is_inbox_conflict(error) else error)
        metrics.applied.labels(message.type).inc()

    async def _decide(self, message: Message, row: SideRow) -> None:
        for _ in range(MOST_DECISIONS):
            try:
                return await self._handle(message, row)
            except VersionConflict:
                continue  # another command changed a stream in between: the handler loads and decides again
        raise TryAgain("overtaken by other commands too often")


def _by_version(messages: Iterable[Message]) -> dict[int, Message]:
    """The messages by version; the same one may come twice, two different ones may not."""
    by_version: dict[int, Message] = {}
    for message in messages:
        if by_version.setdefault(message.stream_version, message).id != message.id:
            raise Stuck(message) from Diverged()
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
