"""What is wrong at the broker, as the workers find it: stored, so that all processes can show it."""

import asyncio
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

import asyncpg
import structlog

from shared.kernel.text import summary
from shared.messaging import metrics
from shared.platform.postgres import is_transient

CONSUMING, PUBLISHING, BLOCKED = "consuming", "publishing", "blocked"
"""Names of faults of a whole connection. The fault of one queue or exchange has its name."""
NOT_CONNECTED = "not connected yet"
LOW_ON_RESOURCES = "the broker takes no messages (connection.blocked): it is low on memory or disk"

STORE_EVERY_SECONDS = 1.0
FRESH_SECONDS = 15
"""A worker that has not stored a fault again for so long has died, or cannot reach the database."""

# A worker that finds a fault again goes on with the moment at which it, or one before it, noticed it.
STORE = f"""
INSERT INTO broker_faults AS fault (worker, name, reason, since, seen_at)
SELECT $1, found.name, found.reason,
       coalesce((SELECT min(since) FROM broker_faults AS known
                  WHERE known.name = found.name
                    AND known.seen_at > clock_timestamp() - interval '{4 * FRESH_SECONDS} s'),
                clock_timestamp()),
       clock_timestamp()
  FROM unnest($2::text[], $3::text[]) AS found (name, reason)
    ON CONFLICT (worker, name) DO UPDATE
   SET reason = excluded.reason, since = excluded.since, seen_at = excluded.seen_at
"""  # noqa: S608 - a constant
FORGET = """
DELETE FROM broker_faults
 WHERE worker = $1 AND name = ANY ($2::text[]) OR seen_at < clock_timestamp() - interval '1 day'
"""
FRESH = f"""
SELECT name, (array_agg(reason ORDER BY since))[1] AS reason, min(since) AS since FROM broker_faults
 WHERE seen_at > clock_timestamp() - interval '{FRESH_SECONDS} s' GROUP BY name ORDER BY min(since), name
"""  # noqa: S608 - a constant

log = structlog.get_logger(__name__)


class BrokerFaulty(Exception):
    """The broker cannot be used as it should; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its name, what a worker found, and since when."""

    name: str
    reason: str
    since: datetime


async def faults_of(database: asyncpg.Pool | asyncpg.Connection) -> list[Fault]:
    """Return what the workers of this service find wrong now, the oldest first."""
    return [Fault(**row) for row in await database.fetch(FRESH)]


async def update_fault_metrics(pool: asyncpg.Pool) -> None:
    """Set the gauge of faults, whichever process found them."""
    found = await faults_of(pool)
    metrics.broker_faults.clear()
    for fault in found:
        metrics.broker_faults.labels(fault.name).set(fault.since.timestamp())


class BrokerFaults:
    """The faults that this worker finds. Noting needs no database: `keep_storing` copies them into it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._worker = f"{socket.gethostname()}-{uuid4().hex[:12]}"
        self._found: dict[str, str] = {}
        self._ended: set[str] = set()
        self._changed = asyncio.Event()

    def expect(self, name: str) -> None:
        """Count this as a fault until it works for the first time, without a word in the log."""
        self._found.setdefault(name, NOT_CONNECTED)

    def note(self, name: str, reason: str) -> None:
        """Note a fault; it is logged when it is new, or has another reason."""
        reason = summary(reason)
        if self._found.get(name) != reason:
            log.error("broker.fault", name=name, reason=reason)
            self._found[name] = reason
            self._ended.discard(name)
            self._changed.set()

    def clear(self, *names: str) -> None:
        """Note that these work."""
        for name in self._found.keys() & set(names):
            if self._found.pop(name) != NOT_CONNECTED:
                log.info("broker.fault_ended", name=name)
            self._ended.add(name)
            self._changed.set()

    def forget(self, *names: str) -> None:
        """Drop faults that this worker does not look at now; found again soon, they go on since then."""
        for name in names:
            self._found.pop(name, None)

    def any_of(self, *names: str) -> bool:
        """Return whether one of these is a fault now."""
        return not self._found.keys().isdisjoint(names)

    async def require_none(self) -> None:
        """Raise BrokerFaulty when this worker finds anything wrong."""
        if self._found:
            raise BrokerFaulty("; ".join(f"{name}: {reason}" for name, reason in self._found.items()))

    async def keep_storing(self) -> None:
        """Store what changes until cancelled. Without the database it goes on, and stores it later."""
        while True:
            self._changed.clear()
            found, ended = dict(self._found), set(self._ended)
            if found or ended:
                try:
                    await self._store(found, ended)
                    self._ended -= ended
                except Exception as error:
                    if not is_transient(error):
                        raise
                    log.warning("broker.fault_not_stored", error=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(STORE_EVERY_SECONDS):
                    await self._changed.wait()

    async def _store(self, found: Mapping[str, str], ended: Collection[str]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(FORGET, self._worker, list(ended))
            await connection.execute(STORE, self._worker, list(found), list(found.values()))
