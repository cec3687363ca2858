"""Subjects with a failed message, and their messages, which wait behind it (I8, ADR 0003).

The tables are called `held_guests` and `held_messages`; see the glossary.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shared.messaging import metrics
from shared.messaging.envelope import Message
from shared.messaging.errors import NotParked

LONGEST_BACK_OFF_SECONDS = 60.0
MOST_OFTEN_SECONDS = 1.0
"""Between two looks at the table, however often this process parks."""
TRYING_SECONDS = 30.0
"""While one process tries a subject, the others leave it alone for this long."""


class State(StrEnum):
    """Why messages are parked: something is unavailable, a message failed, or two histories differ."""

    WAITING = "waiting"
    PARKED = "parked"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True)
class ParkedSubject:
    """A subject whose messages are parked. `messages` counts them; `next_try` applies to waiting ones only.

    `message_type` and `message_version` are those of the failed message.
    """

    subject: UUID
    state: State
    reason: str
    since: datetime
    attempts: int
    next_try: datetime
    messages: int
    message_type: str | None
    message_version: int | None


class ParkedSubjects:
    """The tables of parked subjects and messages. Any number of processes may use them at once."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._one_more = asyncio.Event()

    async def has_any(self) -> bool:
        """Return whether a subject is parked, here or in another process."""
        return bool(await self._pool.fetchval("SELECT EXISTS (SELECT FROM held_guests)"))

    async def wait(self, seconds: float) -> None:
        """Wait so long; less when this process parks a subject meanwhile and did not do so just before."""
        self._one_more.clear()
        await asyncio.sleep(min(seconds, MOST_OFTEN_SECONDS))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds - MOST_OFTEN_SECONDS):
                await self._one_more.wait()

    async def park(
        self,
        subject: UUID,
        state: State,
        reason: str,
        messages: Sequence[Message],
        failed_event_id: UUID | None,
    ) -> None:
        """Park a subject with its messages, or park it again, perhaps for another reason."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_PARK, subject, state, reason, LONGEST_BACK_OFF_SECONDS, failed_event_id)
            await connection.executemany(_QUEUE, [_row(message) for message in messages])
        self._one_more.set()

    async def queue_behind(self, message: Message) -> bool:
        """Add a message to those of its parked subject; return False if the subject is no longer parked."""
        try:
            await self._pool.execute(_QUEUE, *_row(message))
        except asyncpg.ForeignKeyViolationError:
            return False
        return True

    async def make_due(self) -> None:
        """Let the waiting subjects be tried as soon as a worker looks: what they wait for may be there."""
        await self._pool.execute(
            "UPDATE held_guests SET next_try = clock_timestamp() WHERE state = 'waiting'"
        )

    async def messages(self, subject: UUID) -> list[Message]:
        """Return the subject's parked messages in order; an empty list when it is not parked."""
        rows = await self._pool.fetch(_MESSAGES, subject)
        return [Message.from_json(row["message"].encode()) for row in rows]

    async def unpark(self, subject: UUID) -> bool:
        """Unpark the subject once all its messages are applied; return False if another message came."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_FORGET_APPLIED, subject)
                await connection.execute(_UNPARK, subject)
        except asyncpg.ForeignKeyViolationError:
            return False
        return True

    async def due(self, limit: int) -> list[UUID]:
        """Return waiting subjects whose time has come, and parked ones whose messages are applied by now."""
        rows = await self._pool.fetch(_DUE, limit, TRYING_SECONDS)
        return [row["guest_id"] for row in rows]

    async def skip(self, subject: UUID, *, reason: str, by: str) -> None:
        """Move the inbox past the failed message of a parked subject, and record who did it and why.

        A diverged message is only removed: its version is applied, or will be, under the other event id.
        Raises NotParked, also for a waiting subject: versions that are only not available yet would be lost.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            state = await self._lock_parked(connection, subject)
            await connection.execute(_FORGET_APPLIED, subject)
            row = await connection.fetchrow(_SKIP, subject, reason, by)
            if row is not None and state is State.PARKED:
                await connection.execute(_MARK_SKIPPED, subject, row["stream_version"], row["event_id"])

    async def _lock_parked(self, connection: PoolConnectionProxy, subject: UUID) -> State:
        parked = "SELECT state FROM held_guests WHERE guest_id = $1 AND state <> 'waiting' FOR UPDATE"
        state = await connection.fetchval(parked, subject)
        if state is None:
            raise NotParked
        return State(state)

    async def overview(self, limit: int | None = None) -> list[ParkedSubject]:
        """Return all parked subjects, or at most so many; the longest parked first."""
        return [_subject(row) for row in await self._pool.fetch(_LIST + "ORDER BY since LIMIT $1", limit)]

    async def show(self, subject: UUID) -> ParkedSubject:
        """Return one parked subject. Raises NotParked."""
        row = await self._pool.fetchrow(_LIST + "WHERE guest_id = $1", subject)
        if row is None:
            raise NotParked
        return _subject(row)

    async def counts(self) -> dict[State, int]:
        """Count the parked subjects by state."""
        rows = await self._pool.fetch("SELECT state, count(*) AS subjects FROM held_guests GROUP BY state")
        found = {row["state"]: int(row["subjects"]) for row in rows}
        return {state: found.get(state.value, 0) for state in State}

    async def update_metrics(self) -> None:
        """Set the gauges to the present numbers."""
        for state, subjects in (await self.counts()).items():
            metrics.parked_subjects.labels(state.value).set(subjects)


def _row(message: Message) -> tuple[UUID, int, UUID, str]:
    return message.subject, message.stream_version, message.id, message.to_json().decode()


def _subject(row: asyncpg.Record) -> ParkedSubject:
    return ParkedSubject(**{**row, "state": State(row["state"])})


_PARK = """
INSERT INTO held_guests AS parked (guest_id, state, reason, in_the_way, next_try)
VALUES ($1, $2, $3, $5, clock_timestamp() + interval '1 second')
ON CONFLICT (guest_id) DO UPDATE
   SET state = excluded.state, reason = excluded.reason, in_the_way = excluded.in_the_way,
       attempts = parked.attempts + 1,
       next_try = clock_timestamp()
                + make_interval(secs => least($4, 2 ^ least(parked.attempts, 16)))
"""

_QUEUE = """
INSERT INTO held_messages (guest_id, stream_version, event_id, message) VALUES ($1, $2, $3, $4::jsonb)
ON CONFLICT DO NOTHING
"""

_MESSAGES = "SELECT message FROM held_messages WHERE guest_id = $1 ORDER BY stream_version, held_at"

_UNPARK = "DELETE FROM held_guests WHERE guest_id = $1"

_LIST = """
SELECT guest_id AS subject, state, reason, since, attempts, next_try,
       (SELECT count(*) FROM held_messages WHERE held_messages.guest_id = held_guests.guest_id) AS messages,
       message_type, message_version
  FROM held_guests LEFT JOIN LATERAL (
       SELECT message ->> 'type' AS message_type, stream_version AS message_version FROM held_messages
        WHERE held_messages.guest_id = held_guests.guest_id
        ORDER BY event_id = in_the_way DESC NULLS LAST, stream_version, held_at LIMIT 1) AS first ON true
"""

# Applied under the very same id, or skipped unseen. A known version with another id stays.
_FORGET_APPLIED = """
DELETE FROM held_messages USING inbox
 WHERE held_messages.guest_id = $1 AND inbox.guest_id = $1
   AND inbox.stream_version = held_messages.stream_version
   AND coalesce(inbox.event_id, held_messages.event_id) = held_messages.event_id
"""

_DUE = """
UPDATE held_guests SET next_try = clock_timestamp() + make_interval(secs => $2)
 WHERE guest_id IN (
       SELECT guest_id FROM held_guests
        WHERE next_try <= clock_timestamp()
          AND (state = 'waiting' OR NOT EXISTS (
              SELECT FROM held_messages LEFT JOIN inbox USING (guest_id, stream_version, event_id)
               WHERE held_messages.guest_id = held_guests.guest_id AND inbox.guest_id IS NULL))
        ORDER BY next_try LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING guest_id
"""

_SKIP = """
WITH skipped AS (
    DELETE FROM held_messages WHERE (guest_id, stream_version, event_id) = (
        SELECT guest_id, stream_version, event_id FROM held_messages JOIN held_guests USING (guest_id)
         WHERE guest_id = $1
         ORDER BY event_id = in_the_way DESC NULLS LAST, stream_version, held_at LIMIT 1)
    RETURNING *)
INSERT INTO discarded_messages (guest_id, stream_version, event_id, message, reason, discarded_by)
SELECT guest_id, stream_version, event_id, message, $2, $3 FROM skipped
RETURNING stream_version, event_id
"""

# Earlier versions that never came are skipped with it, unseen.
_MARK_SKIPPED = """
INSERT INTO inbox (guest_id, stream_version, event_id, discarded)
SELECT $1, version, CASE WHEN version = $2 THEN $3::uuid END, true
  FROM generate_series(1, $2::bigint) AS version
ON CONFLICT DO NOTHING
"""
