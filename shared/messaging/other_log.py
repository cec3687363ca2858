"""Whether the other service's log ends before what was seen of it, as after a restore (ADR 0033).

Positions are never given twice by one log. So if the other log ends before a position that was processed, or
a message that is not known comes with such a position, then the other database was restored to an older
moment. Two things follow. What is new there has positions that the feed poller has passed: it goes back. And
what was lost there is still here: an operator decides, unless the other service makes it again by itself.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from uuid import UUID

import asyncpg
import structlog

from shared.messaging import metrics
from shared.platform.postgres import is_transient

log = structlog.get_logger(__name__)

BY_ITSELF = "feed poller"
STORE_EVERY_SECONDS = 1.0
REMEMBERED = 10_000
"""So many of the last messages each process remembers, by their positions."""


class OtherLogBehind(Exception):
    """The other service's log ends before what was seen of it: its database was restored."""


@dataclass(frozen=True, slots=True)
class LostEnd:
    """An end of the other log that was seen, and is there no more. Positions of that log.

    `seen`: up to here it was processed. `head`: where it ended when this was noticed, or before.
    `went_back_at`, `read_again_at`: the feed poller went back before the loss, and read to the end again.
    """

    source: str
    seen: int
    head: int
    noticed_at: datetime
    went_back_at: datetime | None
    read_again_at: datetime | None

    @property
    def text(self) -> str:
        """One line for operators."""
        return (
            f"noticed {self.noticed_at:%Y-%m-%d %H:%M:%S %Z}: {self.source} ended at position {self.head},"
            f" up to {self.seen} had been processed"
        )


class OtherLog:
    """The table of lost ends; at most one is open. `heals`: the other service makes again what it lost."""

    def __init__(self, pool: asyncpg.Pool, *, heals: bool) -> None:
        self._pool = pool
        self._heals = heals
        self._received = self._stored = 0
        self._remembered: dict[int, UUID] = {}

    def received(self, position: int, message_id: UUID) -> None:
        """Note that a new message with this position was processed, whichever way it came."""
        self._received = max(self._received, position)
        self._remembered[position] = message_id
        if len(self._remembered) > REMEMBERED:
            for first in list(islice(self._remembered, REMEMBERED // 10)):
                del self._remembered[first]

    def replaces(self, position: int, message_id: UUID) -> bool:
        """Return whether another message was processed with this position.

        The log lost its end, and has grown beyond it again before anybody looked where it ends.
        """
        return self._remembered.get(position, message_id) != message_id

    async def note_replaced(self, source: str, position: int) -> None:
        """Note that what was at this position and behind it is there no more. One loss is noted once."""
        seen = max(position, await self.highest())
        self._remembered = {at: known for at, known in self._remembered.items() if at < position}
        await self.note(source, seen=seen, head=position - 1)

    async def highest(self) -> int:
        """Return the highest position that was received, by any process, before this call."""
        await self._store()
        return await self._pool.fetchval(_HIGHEST) or 0

    async def keep_storing(self) -> None:
        """Store the highest position for the other processes, and for after a restart, until cancelled."""
        while True:
            try:
                await self._store()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("other_log.not_stored", error=type(error).__name__)
            await asyncio.sleep(STORE_EVERY_SECONDS)

    async def _store(self) -> None:
        """Store what this process received since it last did. Only what is higher than all before."""
        received = self._received
        if received > self._stored:
            await self._pool.execute(_STORE, received)
            self._stored = received

    async def note(self, source: str, *, seen: int, head: int) -> None:
        """Note that the log ends at `head` or before, although `seen` was processed. Again is no change."""
        if await self._pool.fetchval(_NOTE, source, seen, head) is not None:
            log.error("other_log.behind", source=source, seen=seen, head=head)

    async def note_passed(self, source: str, position: int) -> None:
        """Note that an unknown message has a position that the feed poller has passed.

        Not if the feed poller went back meanwhile: it will read the message.
        """
        if await self._pool.fetchval(_NOTE_PASSED, source, position) is not None:
            log.error("other_log.behind", source=source, head=position - 1)

    async def lost_end(self) -> LostEnd | None:
        """Return the open one."""
        return await lost_end(self._pool)

    async def went_back(self, to: int) -> None:
        """Note that the feed is read from this position again, before the loss."""
        self._remembered.clear()  # what is read now has the positions of what was lost
        await self._pool.execute(_FORGET_HIGHEST, to)
        await self._pool.execute(_WENT_BACK)

    async def read_again(self) -> None:
        """Note that the feed was read to its end since; this settles what heals by itself."""
        await self._pool.execute(_READ_AGAIN)
        if self._heals:
            await self.settle(BY_ITSELF, "the feed was read again")

    async def settle(self, by: str, reason: str) -> bool:
        """Close the open one; return whether there was one that the feed poller was done with."""
        settled = await self._pool.fetchval(_SETTLE, by, reason)
        if settled is not None:
            log.warning("other_log.settled", by=by)
        return settled is not None


async def lost_end(database: asyncpg.Pool | asyncpg.Connection) -> LostEnd | None:
    """Return the lost end that is open, or None."""
    row = await database.fetchrow(_OPEN)
    return None if row is None else LostEnd(**row)


async def update_other_log_metrics(pool: asyncpg.Pool) -> None:
    """Set the gauge: how many positions were seen that the other log does not have."""
    found = await lost_end(pool)
    metrics.other_log_behind.set(0 if found is None else found.seen - found.head)


_HIGHEST = "SELECT position FROM checkpoints WHERE name = 'received'"
_STORE = """
INSERT INTO checkpoints AS checkpoint (name, position, epoch) VALUES ('received', $1, 0)
ON CONFLICT (name) DO UPDATE SET position = greatest(checkpoint.position, excluded.position)
"""
_FORGET_HIGHEST = "UPDATE checkpoints SET position = least(position, $1) WHERE name = 'received'"
_OPEN = """
SELECT source, seen, head, noticed_at, went_back_at, read_again_at FROM other_log_losses
 WHERE settled_at IS NULL
"""
_NEW = """
ON CONFLICT ((settled_at IS NULL)) WHERE settled_at IS NULL DO UPDATE
   SET head = least(known.head, excluded.head), seen = greatest(known.seen, excluded.seen),
       went_back_at = NULL, read_again_at = NULL
 WHERE known.went_back_at IS NOT NULL OR known.head > excluded.head
RETURNING id
"""
_NOTE = f"""
INSERT INTO other_log_losses AS known (source, seen, head) VALUES ($1, $2, $3) {_NEW}
"""  # noqa: S608 - constants only
_NOTE_PASSED = f"""
INSERT INTO other_log_losses AS known (source, seen, head)
SELECT $1, position, $2::bigint - 1 FROM checkpoints WHERE name = 'sweep' AND position >= $2 {_NEW}
"""  # noqa: S608 - constants only
_WENT_BACK = "UPDATE other_log_losses SET went_back_at = clock_timestamp() WHERE settled_at IS NULL"
_READ_AGAIN = """
UPDATE other_log_losses SET read_again_at = clock_timestamp()
 WHERE settled_at IS NULL AND went_back_at IS NOT NULL
"""
_SETTLE = """
UPDATE other_log_losses SET settled_at = clock_timestamp(), settled_by = $1, reason = $2
 WHERE settled_at IS NULL AND read_again_at IS NOT NULL RETURNING id
"""
