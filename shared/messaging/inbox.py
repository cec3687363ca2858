"""The inbox: every event of a subject takes effect once, in stream order (I8, ADR 0003)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from weakref import WeakValueDictionary

import asyncpg
import structlog

from shared.event_log.errors import LogOverloaded, LogUnavailable
from shared.messaging import metrics
from shared.messaging.envelope import Message
from shared.messaging.errors import CannotApply, Diverged, TryAgain
from shared.messaging.feed import Feed
from shared.messaging.in_order import Handler, InboxCursors, InOrder, MessageFailed
from shared.messaging.parked import ParkedSubjects, State
from shared.platform.postgres import is_transient

RETRY_INTERVAL_SECONDS = 0.5

log = structlog.get_logger(__name__)


class Inbox:
    """Applies the other service's messages to this one. Any number may work at once, in any process."""

    def __init__(self, pool: asyncpg.Pool, feed: Feed, handle: Handler) -> None:
        self._pool = pool
        self._cursors = InboxCursors(pool)
        self._in_order = InOrder(pool, feed, handle)
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self.parked = ParkedSubjects(pool)

    async def receive(self, message: Message) -> None:
        """Process a message; return when the outcome is durable: applied, dropped as known, or parked.

        Messages of one subject that are received at the same time are processed in the order of the calls.
        """
        metrics.received.inc()
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
                await self._catch_up_or_park(message.subject, [message], cursor.last_version)

    async def receive_unreadable(self, body: bytes, reason: str) -> None:
        """Store a body that is not a message of ours, for an operator; it belongs to no subject."""
        metrics.unreadable.inc()
        log.error("message.unreadable", reason=reason)
        await self._pool.execute(
            "INSERT INTO unreadable_messages (body, reason) VALUES ($1, $2)", body, reason
        )

    async def unknown(self, messages: Sequence[Message]) -> list[Message]:
        """Return those messages that were not applied under their own event id yet."""
        rows = await self._pool.fetch(
            """
            SELECT known.event_id FROM inbox JOIN unnest($1::uuid[], $2::bigint[], $3::uuid[])
                AS known (guest_id, stream_version, event_id) USING (guest_id, stream_version)
             WHERE coalesce(inbox.event_id, known.event_id) = known.event_id
            """,
            [message.subject for message in messages],
            [message.stream_version for message in messages],
            [message.id for message in messages],
        )
        known = {row["event_id"] for row in rows}
        return [message for message in messages if message.id not in known]

    async def apply_now(self, subject: UUID, messages: Sequence[Message]) -> None:
        """Apply these messages and the parked ones of the subject before returning. Raises CannotApply.

        Synchronous entry to the inbox, used by the login barrier (ADR 0004).
        """
        async with self._turn(subject):
            try:
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
        await self.parked.update_metrics()
        return sum(unparked)

    async def keep_retrying(self) -> None:
        """Retry waiting subjects until cancelled."""
        while True:
            try:
                await self.retry_waiting()
            except Exception as error:
                if not _is_transient(error):
                    raise
                log.warning("waiting.not_retried", reason=_reason(error))
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)

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
        async with self._turn(subject):
            return await self._retry_in_turn(subject)

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
            await self._park(error, messages)
            return False
        return True

    async def _park(self, error: Exception, messages: Sequence[Message]) -> None:
        state = _state(error)
        failed = [error.message] if isinstance(error, MessageFailed) else []
        failed_event_id = failed[0].id if failed else None
        await self.parked.park(state, _reason(error), [*messages, *failed], failed_event_id)
        _COUNTERS[state].inc()
        report = log.warning if state is State.WAITING else log.error
        report("subject." + state.value, subject=str(messages[0].subject), reason=_reason(error))

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
    return f"{type(cause).__name__}: {what}"


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
