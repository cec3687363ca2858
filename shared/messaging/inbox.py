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
from shared.messaging.parked import ParkedGuests, State
from shared.platform.postgres import is_transient

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UnreadableMessage:
    """A body as it came, with the reason why it cannot be read."""

    id: int
    body: bytes
    reason: str
    received_at: datetime


async def keep(pool: asyncpg.Pool, body: bytes, reason: str) -> None:
    """Keeps a body that cannot be read."""
    metrics.unreadable.inc()
    log.error("message.unreadable", reason=reason)
    await pool.execute("INSERT INTO unreadable_messages (body, reason) VALUES ($1, $2)", body, reason)


async def kept(pool: asyncpg.Pool) -> list[UnreadableMessage]:
    """All that was kept, oldest first."""
    rows = await pool.fetch("SELECT id, body, reason, received_at FROM unreadable_messages ORDER BY id")
    return [UnreadableMessage(**row) for row in rows]


RETRY_EVERY = 0.5


class Inbox:
    """Applies the other service's messages to this one. Any number may work at once, in any process."""

    def __init__(self, pool: asyncpg.Pool, feed: Feed, handle: Handler) -> None:
        self._pool = pool
        self._cursors = InboxCursors(pool)
        self._in_order = InOrder(pool, feed, handle)
        self._turns: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self.parked = ParkedGuests(pool)

    async def receive(self, message: Message) -> None:
        """Returns when the message was durably dealt with: applied, dropped as known, waiting or parked.

        Messages of one guest that are received at the same time are taken in the order of the calls.
        """
        metrics.received.inc()
        async with self._turn(message.subject):
            cursor = await self._cursors.of(message)
            while cursor.is_parked:
                if await self.parked.queue_behind(message):
                    if message.erased:  # whatever is in the way is harmless now, and need not wait (R19)
                        await self._retry_in_turn(message.subject)
                    return
                cursor = await self._cursors.of(message)
            if cursor.is_known:
                metrics.dropped.inc()
            else:
                await self._catch_up_or_hold(message.subject, [message], cursor.last_version)

    async def receive_unreadable(self, body: bytes, reason: str) -> None:
        """Returns when what is no message of ours was kept for an operator; it belongs to no guest."""
        await keep(self._pool, body, reason)

    async def unknown(self, messages: Sequence[Message]) -> list[Message]:
        """Those that were not applied under their very id: what is left to receive of a page of the feed."""
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

    async def apply_now(self, guest_id: UUID, messages: Sequence[Message]) -> None:
        """The login barrier (A6): applies what is not yet applied, parked too. Raises CannotApply."""
        async with self._turn(guest_id):
            try:
                held = await self.parked.messages(guest_id)
                await self._in_order.catch_up(guest_id, [*held, *messages])
                while held and not await self.parked.unpark(guest_id):
                    await self._in_order.catch_up(guest_id, await self.parked.messages(guest_id))
            except Exception as error:
                raise CannotApply(_reason(error)) from error

    async def retry_waiting(self) -> int:
        """Tries the waiting guests whose time has come; answers how many are through."""
        due = await self.parked.due(limit=100)
        through = await asyncio.gather(*(self._retry(guest_id) for guest_id in due))
        await self.parked.count()
        return sum(through)

    async def keep_retrying(self) -> None:
        """Tries the waiting guests for ever, until cancelled."""
        while True:
            try:
                await self.retry_waiting()
            except Exception as error:
                if not _is_transient(error):
                    raise
                log.warning("waiting.not_tried", reason=_reason(error))
            await asyncio.sleep(RETRY_EVERY)

    async def retry_parked(self, guest_id: UUID) -> bool:
        """An operator's retry; whether the guest is through. Raises NotParked."""
        await self.parked.show(guest_id)
        return await self._retry(guest_id)

    async def discard(self, guest_id: UUID, *, reason: str, by: str) -> bool:
        """Passes over what is in the way, tries the rest; whether all is through. Raises NotParked."""
        await self.parked.skip(guest_id, reason=reason, by=by)
        log.warning("message.discarded", guest_id=str(guest_id), by=by)
        return await self._retry(guest_id)

    async def _retry(self, guest_id: UUID) -> bool:
        async with self._turn(guest_id):
            return await self._retry_in_turn(guest_id)

    async def _retry_in_turn(self, guest_id: UUID) -> bool:
        while messages := await self.parked.messages(guest_id):
            if not await self._catch_up_or_hold(guest_id, messages):
                return False
            if await self.parked.unpark(guest_id):
                return True
        return await self.parked.unpark(guest_id)

    async def _catch_up_or_hold(
        self, guest_id: UUID, messages: Sequence[Message], last: int | None = None
    ) -> bool:
        try:
            await self._in_order.catch_up(guest_id, messages, last)
        except Exception as error:
            await self._hold(error, messages)
            return False
        return True

    async def _hold(self, error: Exception, messages: Sequence[Message]) -> None:
        state = _state(error)
        stuck = [error.message] if isinstance(error, MessageFailed) else []
        in_the_way = stuck[0].id if stuck else None
        await self.parked.hold(state, _reason(error), [*messages, *stuck], in_the_way)
        _COUNTERS[state].inc()
        level = log.warning if state is State.WAITING else log.error
        level("guest." + state.value, guest_id=str(messages[0].subject), reason=_reason(error))

    def _turn(self, guest_id: UUID) -> asyncio.Lock:
        """One guest's turn; it lives as long as somebody holds it or waits for it."""
        return self._turns.setdefault(guest_id, asyncio.Lock())


_COUNTERS = {
    State.WAITING: metrics.waiting,
    State.PARKED: metrics.parked,
    State.DIVERGED: metrics.diverged,
}


def _cause(error: BaseException) -> BaseException:
    return error.__cause__ if isinstance(error, MessageFailed) and error.__cause__ else error


def _is_transient(cause: BaseException) -> bool:
    """Return whether the same message may succeed later without help."""
    return isinstance(cause, TryAgain | LogUnavailable | LogOverloaded) or is_transient(cause)


def _state(error: Exception) -> State:
    cause = _cause(error)
    if isinstance(cause, Diverged):
        return State.DIVERGED
    return State.WAITING if _is_transient(cause) else State.PARKED


def _reason(error: Exception) -> str:
    cause = _cause(error)
    what = str(cause) or (cause.__doc__ or "").strip()
    return f"{type(cause).__name__}: {what}"
