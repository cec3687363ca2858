"""Guests whose next message cannot be applied, and their messages in line (A5, I8)."""

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

LONGEST_BACK_OFF = 60.0
# While one process tries a guest, the others leave it alone for so long.
TRYING_SECONDS = 30.0


class State(StrEnum):
    """Why a guest is held: something is unavailable, a message cannot be handled, or two histories differ."""

    WAITING = "waiting"
    PARKED = "parked"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True)
class ParkedGuest:
    """One guest who is held. `messages` counts those in line; `next_try` matters to the waiting only.

    `message_type` and `message_version` are of the message in the way.
    """

    guest_id: UUID
    state: State
    reason: str
    since: datetime
    attempts: int
    next_try: datetime
    messages: int
    message_type: str | None
    message_version: int | None


class ParkedGuests:
    """The tables of held guests. Any number of processes may work on them at once."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def hold(
        self, state: State, reason: str, messages: Sequence[Message], in_the_way: UUID | None
    ) -> None:
        """Holds the guest of these messages, or holds it once more, for another reason perhaps."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                """
                INSERT INTO held_guests AS held (guest_id, state, reason, in_the_way, next_try)
                VALUES ($1, $2, $3, $5, clock_timestamp() + interval '1 second')
                ON CONFLICT (guest_id) DO UPDATE
                   SET state = excluded.state, reason = excluded.reason, in_the_way = excluded.in_the_way,
                       attempts = held.attempts + 1,
                       next_try = clock_timestamp()
                                + make_interval(secs => least($4, 2 ^ least(held.attempts, 16)))
                """,
                messages[0].subject,
                state,
                reason,
                LONGEST_BACK_OFF,
                in_the_way,
            )
            await connection.executemany(_QUEUE, [_row(message) for message in messages])

    async def queue_behind(self, message: Message) -> bool:
        """Puts a message in its held guest's line; False when the guest is not held (any more)."""
        try:
            await self._pool.execute(_QUEUE, *_row(message))
        except asyncpg.ForeignKeyViolationError:
            return False
        return True

    async def messages(self, guest_id: UUID) -> list[Message]:
        """The guest's line, in order; empty when it is not held."""
        rows = await self._pool.fetch(
            "SELECT message FROM held_messages WHERE guest_id = $1 ORDER BY stream_version, held_at", guest_id
        )
        return [Message.from_json(row["message"].encode()) for row in rows]

    async def unpark(self, guest_id: UUID) -> bool:
        """Ends the holding, once all that was in line is applied; False when something came in behind."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_FORGET_APPLIED, guest_id)
                await connection.execute("DELETE FROM held_guests WHERE guest_id = $1", guest_id)
        except asyncpg.ForeignKeyViolationError:
            return False
        return True

    async def due(self, limit: int) -> list[UUID]:
        """Waiting guests whose time has come, and parked ones of whom all is applied after all."""
        rows = await self._pool.fetch(_DUE, limit, TRYING_SECONDS)
        return [row["guest_id"] for row in rows]

    async def skip(self, guest_id: UUID, *, reason: str, by: str) -> None:
        """Moves the inbox past the message in the way of a parked guest, and writes down who and why.

        A diverged message is taken away only: its version is, or will be, known under the other id.

        Raises NotParked, also for a waiting guest: versions that only could not be asked for yet would be lost.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            state = await self._lock_parked(connection, guest_id)
            await connection.execute(_FORGET_APPLIED, guest_id)
            row = await connection.fetchrow(_SKIP, guest_id, reason, by)
            if row is not None and state is State.PARKED:
                await connection.execute(_MARK_SKIPPED, guest_id, row["stream_version"], row["event_id"])

    async def _lock_parked(self, connection: PoolConnectionProxy, guest_id: UUID) -> State:
        parked = "SELECT state FROM held_guests WHERE guest_id = $1 AND state <> 'waiting' FOR UPDATE"
        state = await connection.fetchval(parked, guest_id)
        if state is None:
            raise NotParked
        return State(state)

    async def overview(self) -> list[ParkedGuest]:
        """All held guests, those held longest first."""
        return [_guest(row) for row in await self._pool.fetch(_LIST + "ORDER BY since")]

    async def show(self, guest_id: UUID) -> ParkedGuest:
        """One held guest. Raises NotParked."""
        row = await self._pool.fetchrow(_LIST + "WHERE guest_id = $1", guest_id)
        if row is None:
            raise NotParked
        return _guest(row)

    async def count(self) -> None:
        """Brings the gauges up to date."""
        rows = await self._pool.fetch("SELECT state, count(*) AS guests FROM held_guests GROUP BY state")
        guests = {row["state"]: row["guests"] for row in rows}
        for state in State:
            metrics.held_guests.labels(state.value).set(guests.get(state.value, 0))


def _row(message: Message) -> tuple[UUID, int, UUID, str]:
    return message.subject, message.stream_version, message.id, message.to_json().decode()


def _guest(row: asyncpg.Record) -> ParkedGuest:
    return ParkedGuest(**{**row, "state": State(row["state"])})


_QUEUE = """
INSERT INTO held_messages (guest_id, stream_version, event_id, message) VALUES ($1, $2, $3, $4::jsonb)
ON CONFLICT DO NOTHING
"""

_LIST = """
SELECT guest_id, state, reason, since, attempts, next_try,
       (SELECT count(*) FROM held_messages WHERE held_messages.guest_id = held_guests.guest_id) AS messages,
       message_type, message_version
  FROM held_guests LEFT JOIN LATERAL (
       SELECT message ->> 'type' AS message_type, stream_version AS message_version FROM held_messages
        WHERE held_messages.guest_id = held_guests.guest_id
        ORDER BY event_id = in_the_way DESC NULLS LAST, stream_version, held_at LIMIT 1) AS first ON true
"""

# Applied under the very same id, or passed over unseen. A known version with another id stays.
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
WITH passed AS (
    DELETE FROM held_messages WHERE (guest_id, stream_version, event_id) = (
        SELECT guest_id, stream_version, event_id FROM held_messages JOIN held_guests USING (guest_id)
         WHERE guest_id = $1
         ORDER BY event_id = in_the_way DESC NULLS LAST, stream_version, held_at LIMIT 1)
    RETURNING *)
INSERT INTO discarded_messages (guest_id, stream_version, event_id, message, reason, discarded_by)
SELECT guest_id, stream_version, event_id, message, $2, $3 FROM passed
RETURNING stream_version, event_id
"""

# Versions before it that never came are passed over with it, unseen.
_MARK_SKIPPED = """
INSERT INTO inbox (guest_id, stream_version, event_id, discarded)
SELECT $1, version, CASE WHEN version = $2 THEN $3::uuid END, true
  FROM generate_series(1, $2::bigint) AS version
ON CONFLICT DO NOTHING
"""
