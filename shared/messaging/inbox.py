"""The inbox: every event of a subject takes effect once, in stream order (I8, ADR 0003)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count
from uuid import UUID
from weakref import WeakValueDictionary

import asyncpg
import structlog

from shared.event_log.aggregate_store import retry_on_conflict
from shared.event_log.errors import LogOverloaded, LogUnavailable, SideRowConflict
from shared.event_log.types import SideRow
from shared.kernel.text import summary
from shared.messaging import metrics
from shared.messaging.envelope import Message
from shared.messaging.errors import (
    CannotApply,
    Diverged,
    ForeignSource,
    MalformedMessage,
    MissingVersion,
    TryAgain,
)
from shared.messaging.feed import Feed
from shared.messaging.other_log import OtherLog
from shared.messaging.parked import ParkedSubjects, State
from shared.messaging.signing import MessageSources
from shared.platform.asked_together import AskedTogether
from shared.platform.postgres import is_transient
from shared.platform.retry import keep_trying

LARGEST_BATCH = 500


@dataclass(frozen=True, slots=True)
class InboxCursor:
    """The state of the inbox for one message.

    `last_version`: the last applied version of its subject. `is_parked`: the subject's messages are parked.
    `is_known`: this very message, or one that says the same, was applied or skipped before. `read_up_to`: the
    feed was processed up to this position of the other log.
    """

    last_version: int
    is_parked: bool
    is_known: bool
    read_up_to: int


class InboxCursors:
    """Reads inbox cursors, many in one query."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.of = AskedTogether(self._read, most=LARGEST_BATCH).ask

    async def _read(self, messages: Sequence[Message]) -> Sequence[InboxCursor]:
        rows = await self._pool.fetch(
            _READ_CURSORS,
            [message.subject for message in messages],
            [message.stream_version for message in messages],
            [message.id for message in messages],
            [message.content for message in messages],
        )
        return [
            InboxCursor(row["last_version"] or 0, row["is_parked"], row["is_known"], row["read_up_to"] or 0)
            for row in rows
        ]


# The last version is one step back along the key, however many messages the subject has.
_READ_CURSORS = """
SELECT (SELECT stream_version FROM inbox WHERE inbox.guest_id = wanted.guest_id
         ORDER BY stream_version DESC LIMIT 1) AS last_version,
       EXISTS (SELECT FROM held_guests WHERE held_guests.guest_id = wanted.guest_id) AS is_parked,
       EXISTS (SELECT FROM inbox
                WHERE inbox.guest_id = wanted.guest_id AND inbox.stream_version = wanted.stream_version
                  AND (coalesce(inbox.event_id, wanted.event_id) = wanted.event_id
                       OR inbox.content = wanted.content)) AS is_known,
       (SELECT position FROM checkpoints WHERE name = 'sweep') AS read_up_to
  FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bytea[]) WITH ORDINALITY
       AS wanted (guest_id, stream_version, event_id, content, number)
 ORDER BY number
"""

# One step back along the key, however many messages the subject has.
_LAST_VERSION = "SELECT stream_version FROM inbox WHERE guest_id = $1 ORDER BY stream_version DESC LIMIT 1"

_IS_APPLIED = """
SELECT true FROM inbox
 WHERE guest_id = $1 AND stream_version = $2 AND (coalesce(event_id, $3) = $3 OR content = $4)
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
        if fresh and (not _follows(last, fresh) or _some_were_erased(fresh) or _some_lack_data(fresh)):
            fresh = await self._fill_gaps(subject, last, fresh)
        for version in sorted(fresh):
            await self._apply(fresh[version])

    async def _last_version(self, subject: UUID) -> int:
        last = await self._pool.fetchval(_LAST_VERSION, subject)
        return last or 0

    async def _drop(self, known: Sequence[Message]) -> None:
        for message in known:
            if not await self._is_applied(message):
                raise MessageFailed(message) from Diverged()
            metrics.dropped.inc()

    async def _is_applied(self, message: Message) -> bool:
        """Return whether this very message was applied or skipped, or one that says the same."""
        found = await self._pool.fetchval(
            _IS_APPLIED, message.subject, message.stream_version, message.id, message.content
        )
        return found is not None

    async def _fill_gaps(self, subject: UUID, last: int, fresh: dict[int, Message]) -> dict[int, Message]:
        fetched = await self._feed.of_subject(subject, after_version=last)
        if any(message.subject != subject for message in fetched):
            raise MalformedMessage("the feed returned a message about another guest")
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
        known = by_version.setdefault(message.stream_version, message)
        if known.id != message.id and known.content != message.content:
            raise MessageFailed(message) from Diverged()
    return by_version


def _some_were_erased(messages: dict[int, Message]) -> bool:
    """Return whether some are from before the erasure and some from after it; the feed has all as erased."""
    return len({message.erased for message in messages.values()}) > 1


def _some_lack_data(messages: dict[int, Message]) -> bool:
    """Return whether the sender could not read some of its events; its feed may have them by now."""
    return any(message.unreadable for message in messages.values())


def _follows(last: int, messages: dict[int, Message]) -> bool:
    return sorted(messages) == list(range(last + 1, last + 1 + len(messages)))


def _inbox_row(message: Message) -> SideRow:
    return SideRow(
        "inbox",
        {
            "guest_id": message.subject,
            "stream_version": message.stream_version,
            "event_id": message.id,
            "content": message.content,
        },
    )


def _is_inbox_conflict(error: Exception) -> bool:
    return isinstance(error, SideRowConflict) and error.constraint == "inbox_pkey"


RETRY_INTERVAL_SECONDS = 1.0
LOOK_ANYWAY_SECONDS = 5.0
"""Between two looks whether a subject waits: another process may have parked it and died."""
MOST_ATTEMPTS = 5
"""Attempts at a message that fails although nothing is unavailable. Then its subject is parked."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0

log = structlog.get_logger(__name__)


class Inbox:
    """Applies the other service's messages to this one. Any number may work at once, in any process.

    `other_heals`: what the other service loses in a restore, it makes again from this service's messages.
    """

    def __init__(
        self, pool: asyncpg.Pool, feed: Feed, handle: Handler, *, other: str, other_heals: bool = False
    ) -> None:
        self._pool = pool
        self._sources = MessageSources(pool, other)
        self._cursors = InboxCursors(pool)
        self._in_order = InOrder(pool, feed, handle)
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self.parked = ParkedSubjects(pool)
        self.other_log = OtherLog(pool, heals=other_heals)

    async def receive_or_park(self, message: Message) -> None:
        """Receive a message until its outcome is durable: the same for every transport.

        While something is unavailable it is tried again without end. Any other failure parks the subject
        after MOST_ATTEMPTS; all other subjects go on. Raises ForeignSource.
        """
        foreign = await keep_trying(
            partial(self._receive_once, message, count(1)),
            action="message.not_received",
            on=Exception,
            first=FIRST_PAUSE_SECONDS,
            longest=LONGEST_PAUSE_SECONDS,
        )
        if foreign is not None:
            raise foreign

    async def _receive_once(self, message: Message, failures: Iterator[int]) -> ForeignSource | None:
        """Return the error that another attempt cannot change. Raises what another attempt may change."""
        try:
            await self.receive(message)
        except ForeignSource as error:
            return error
        except Exception as error:
            if _is_transient(error) or next(failures) < MOST_ATTEMPTS:
                raise
            await self._park_or_store(message, error)
        return None

    async def _park_or_store(self, message: Message, error: Exception) -> None:
        """Park the subject of a message; store the message as unreadable if even that fails."""
        try:
            await self._park(message.subject, error, [message], message)
        except Exception as failure:
            if _is_transient(failure):
                raise
            await self.receive_unreadable(message.to_json(), _reason(error))

    async def receive(self, message: Message) -> None:
        """Process a message; return when the outcome is durable: applied, dropped as known, or parked.

        Messages of one subject that are received at the same time are processed in the order of the calls.
        Raises ForeignSource for a message of another log.
        """
        metrics.received.inc()
        await self._sources.require(message)
        async with self._turn(message.subject):
            cursor = await self._cursors.of(message)
            while cursor.is_parked:
                if await self.parked.queue_behind(message):
                    if message.erased:  # the failed message is harmless now and need not wait (R19)
                        await self._retry_in_turn(message.subject)
                    return
                cursor = await self._cursors.of(message)
            if cursor.is_known:
                metrics.dropped.inc()
            else:
                if message.position <= cursor.read_up_to:  # a position is given once, unless the end was lost
                    await self.other_log.note_passed(message.source, message.position)
                if self.other_log.replaces(message.position, message.id):
                    await self.other_log.note_replaced(message.source, message.position)
                await self._catch_up_or_park(message.subject, [message], cursor.last_version)
                self.other_log.received(message.position, message.id)

    async def receive_unreadable(self, body: bytes, reason: str) -> None:
        """Store a body that is not a message of ours, for an operator; it belongs to no subject.

        Tries again until it is stored: nothing in it can make that fail.
        """
        metrics.unreadable.inc()
        log.error("message.unreadable", reason=summary(reason))
        store = "INSERT INTO unreadable_messages (body, reason) VALUES ($1, $2)"
        await keep_trying(
            partial(self._pool.execute, store, body, summary(reason)),
            action="message.not_stored",
            on=Exception,
            first=FIRST_PAUSE_SECONDS,
            longest=LONGEST_PAUSE_SECONDS,
        )

    async def followed(self) -> str | None:
        """Return the name of the other service's log; None before its first message."""
        return await self._sources.followed()

    async def unknown(self, messages: Sequence[Message]) -> list[Message]:
        """Return those messages that were not applied yet, neither themselves nor ones that say the same."""
        rows = await self._pool.fetch(
            """
            SELECT known.event_id FROM inbox JOIN unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bytea[])
                AS known (guest_id, stream_version, event_id, content) USING (guest_id, stream_version)
             WHERE coalesce(inbox.event_id, known.event_id) = known.event_id
                OR inbox.content = known.content
            """,
            [message.subject for message in messages],
            [message.stream_version for message in messages],
            [message.id for message in messages],
            [message.content for message in messages],
        )
        known = {row["event_id"] for row in rows}
        return [message for message in messages if message.id not in known]

    async def apply_now(self, subject: UUID, messages: Sequence[Message]) -> None:
        """Apply these messages and the parked ones of the subject before returning. Raises CannotApply.

        Synchronous entry to the inbox, used by the login barrier (ADR 0004).
        """
        async with self._turn(subject):
            try:
                for message in messages:
                    await self._sources.require(message)
                parked = await self.parked.messages(subject)
                await self._in_order.catch_up(subject, [*parked, *messages])
                while parked and not await self.parked.unpark(subject):
                    await self._in_order.catch_up(subject, await self.parked.messages(subject))
            except Exception as error:
                raise CannotApply(_reason(error)) from error

    async def retry_waiting(self) -> int:
        """Retry the waiting subjects whose time has come; return how many were unparked."""
        due = await self.parked.due(limit=100)
        unparked = await asyncio.gather(*(self._retry(subject) for subject in due))
        return sum(unparked)

    async def keep_retrying(self) -> None:
        """Retry waiting subjects until cancelled."""
        while True:
            pause = RETRY_INTERVAL_SECONDS
            try:
                if await self.parked.has_any():
                    await self.retry_waiting()
                else:
                    pause = LOOK_ANYWAY_SECONDS
            except Exception as error:
                if not _is_transient(error):
                    raise
                log.warning("waiting.not_retried", reason=_reason(error))
            await self.parked.wait(pause)

    async def retry_parked(self, subject: UUID) -> bool:
        """Retry at an operator's request; return whether the subject was unparked. Raises NotParked."""
        await self.parked.show(subject)
        return await self._retry(subject)

    async def discard(self, subject: UUID, *, reason: str, by: str) -> bool:
        """Skip the failed message and apply the rest; return whether all is applied. Raises NotParked."""
        await self.parked.skip(subject, reason=reason, by=by)
        log.warning("message.discarded", subject=str(subject), by=by)
        return await self._retry(subject)

    async def _retry(self, subject: UUID) -> bool:
        """Retry a parked subject; a failure that is not foreseen parks it with its reason."""
        async with self._turn(subject):
            try:
                return await self._retry_in_turn(subject)
            except Exception as error:
                if _is_transient(error):
                    raise
                await self._park(subject, error, [])
                return False

    async def _retry_in_turn(self, subject: UUID) -> bool:
        while messages := await self.parked.messages(subject):
            if not await self._catch_up_or_park(subject, messages):
                return False
            if await self.parked.unpark(subject):
                return True
        return await self.parked.unpark(subject)

    async def _catch_up_or_park(
        self, subject: UUID, messages: Sequence[Message], last: int | None = None
    ) -> bool:
        try:
            await self._in_order.catch_up(subject, messages, last)
        except Exception as error:
            failed = error.message if isinstance(error, MessageFailed) else None
            await self._park(subject, error, messages, failed)
            return False
        return True

    async def _park(
        self, subject: UUID, error: Exception, messages: Sequence[Message], failed: Message | None = None
    ) -> None:
        state = _state(error)
        backlog = [*messages, failed] if failed else messages
        await self.parked.park(subject, state, _reason(error), backlog, failed.id if failed else None)
        _COUNTERS[state].inc()
        report = log.warning if state is State.WAITING else log.error
        report("subject." + state.value, subject=str(subject), reason=_reason(error))

    def _turn(self, subject: UUID) -> asyncio.Lock:
        """Return the lock of one subject; it exists as long as a task holds it or waits for it."""
        return self._turns.setdefault(subject, asyncio.Lock())


_COUNTERS = {
    State.WAITING: metrics.waiting,
    State.PARKED: metrics.parked,
    State.DIVERGED: metrics.diverged,
}


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, MessageFailed) and error.__cause__ else error


def _is_transient(cause: BaseException) -> bool:
    """Return whether the same message may succeed later without an operator."""
    return isinstance(cause, TryAgain | LogUnavailable | LogOverloaded) or is_transient(cause)


def _state(error: Exception) -> State:
    cause = _cause(error)
    if isinstance(cause, Diverged):
        return State.DIVERGED
    return State.WAITING if _is_transient(cause) else State.PARKED


def _reason(error: Exception) -> str:
    cause = _cause(error)
    what = str(cause) or (cause.__doc__ or "").strip().split("\n\n")[0]
    return summary(f"{type(cause).__name__}: {what}")


@dataclass(frozen=True, slots=True)
class UnreadableMessage:
    """A received body that is not a message of ours, and why."""

    id: int
    body: bytes
    reason: str
    received_at: datetime


async def unreadable_messages(pool: asyncpg.Pool) -> list[UnreadableMessage]:
    """Return all stored unreadable bodies, the oldest first."""
    rows = await pool.fetch("SELECT id, body, reason, received_at FROM unreadable_messages ORDER BY id")
    return [UnreadableMessage(**row) for row in rows]


async def count_unreadable(pool: asyncpg.Pool) -> int:
    """Count the stored unreadable bodies."""
    return int(await pool.fetchval("SELECT count(*) FROM unreadable_messages"))
