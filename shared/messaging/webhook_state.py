"""What is stored about webhook receivers: stopped or failing, and the subjects whose messages wait."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog

from shared.event_log import vacuum_soon
from shared.event_log.export.format import TransferredTable
from shared.messaging import metrics
from shared.messaging.errors import NotParked
from shared.messaging.webhook_sender import Failure
from shared.platform.postgres import Script
from shared.platform.roles import Rights

log = structlog.get_logger(__name__)

FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 1.0, 300.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""A receiver that asks for more is asked again after this."""
TASK_PREFIX = "webhook:"
"""Before the name of a receiver: its lease and its checkpoint."""

SCHEMA: Sequence[Script] = (
    Script(
        "webhooks_0001",
        """
        CREATE TABLE webhook_receivers (
            name text PRIMARY KEY,
            delivered bigint NOT NULL DEFAULT 0,
            delivered_at timestamptz,
            failing_since timestamptz,
            failure text,
            stopped_at timestamptz,
            stop_reason text,
            resumed_by text
        );

        -- Subjects whose next message a receiver did not take: from `version` on they wait, in order. What
        -- they are is in the log, so an erasure counts for them, too.
        CREATE TABLE webhook_parked (
            receiver text NOT NULL,
            guest_id uuid NOT NULL,
            version bigint NOT NULL,
            position bigint NOT NULL,
            state text NOT NULL CHECK (state IN ('waiting', 'parked')),
            refused boolean NOT NULL,
            reason text NOT NULL,
            since timestamptz NOT NULL DEFAULT clock_timestamp(),
            attempts integer NOT NULL DEFAULT 1,
            next_try timestamptz NOT NULL,
            PRIMARY KEY (receiver, guest_id)
        );

        -- Messages that an operator skipped, with name and reason.
        CREATE TABLE webhook_skips (
            receiver text NOT NULL,
            guest_id uuid NOT NULL,
            version bigint NOT NULL,
            reason text NOT NULL,
            skipped_by text NOT NULL,
            skipped_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        CREATE INDEX webhook_skips_guest_id_idx ON webhook_skips (guest_id);
        SELECT rows_die_with_subject('webhook_skips', 'guest_id');
        """
        + vacuum_soon("webhook_skips"),
        {
            "webhook_receivers": Rights("SELECT, INSERT, UPDATE"),
            "webhook_parked": Rights("SELECT, INSERT, UPDATE, DELETE"),
            "webhook_skips": Rights("SELECT, INSERT"),
        },
    ),
)
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("webhook_receivers", 'name COLLATE "C"'),
    TransferredTable("webhook_parked", 'receiver COLLATE "C", guest_id'),
    TransferredTable("webhook_skips", "skipped_at, guest_id, version"),
)


@dataclass(frozen=True, slots=True)
class WaitingSubject:
    """A subject whose messages wait from `version` on. `position`: of that message in the log."""

    subject: UUID
    version: int
    position: int
    state: str
    refused: bool
    reason: str
    since: datetime
    attempts: int
    next_try: datetime


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """A receiver. `lag`: events that were not looked at yet; None before it began."""

    name: str
    position: int | None
    lag: int | None
    delivered: int
    delivered_at: datetime | None
    failing_since: datetime | None
    failure: str | None
    stopped_at: datetime | None
    stop_reason: str | None
    waiting: int
    parked: int


class NoSuchReceiver(Exception):
    """There is no receiver with this name."""


def back_off(attempts: int, failure: Failure) -> float:
    """Return the seconds until the next attempt: doubled each time, with jitter, or as long as was asked."""
    pause = min(FIRST_BACK_OFF_SECONDS * 2.0 ** min(attempts - 1, 30), LONGEST_BACK_OFF_SECONDS)
    pause *= random.uniform(0.75, 1.25)  # noqa: S311 - it spreads attempts, and is no secret
    return max(pause, min(failure.retry_after or 0.0, LONGEST_RETRY_AFTER_SECONDS))


class WebhookState:
    """The tables, in the service's own database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def is_stopped(self, name: str) -> bool:
        """Return whether nothing is sent to this receiver; the first time it becomes known."""
        stopped = await self._pool.fetchval(_STOPPED, name)
        if stopped is None:
            await self._pool.execute(_KNOWN, name)
        return bool(stopped)

    async def stop(self, name: str, reason: str) -> None:
        """Send nothing any more, until an operator resumes."""
        await self._pool.execute(_STOP, name, reason)
        log.error("webhook.stopped", receiver=name, reason=reason)

    async def resume(self, name: str, by: str) -> None:
        """Go on with the first message that was not taken. Raises NoSuchReceiver."""
        if await self._pool.fetchval(_RESUME, name, by) is None:
            raise NoSuchReceiver
        log.info("webhook.resumed", receiver=name, by=by)

    async def delivered(self, name: str, count: int) -> None:
        """Note that messages were taken."""
        metrics.webhook_delivered.labels(name).inc(count)
        await self._pool.execute(_DELIVERED, name, count)

    async def failed(self, name: str, failure: Failure) -> None:
        """Note that a message was not taken."""
        metrics.webhook_failures.labels(name).inc()
        await self._pool.execute(_FAILED, name, failure.reason)

    async def park(self, name: str, waiting: tuple[UUID, int, int], failure: Failure) -> None:
        """Keep the messages of a subject from this version (and position) on for a later attempt."""
        await self._pool.execute(_PARK, name, *waiting, failure.refused, failure.reason, back_off(1, failure))

    async def failed_again(
        self, name: str, found: WaitingSubject, failure: Failure, park_after_seconds: float
    ) -> None:
        """Plan the next attempt, or wait for an operator when it has failed for so long.

        While a receiver takes no message at all, nobody is parked: that says nothing about the message.
        """
        pause = back_off(found.attempts + 1, failure)
        state = await self._pool.fetchval(
            _FAILED_AGAIN,
            *(name, found.subject, found.version, found.position),
            *(failure.refused, failure.reason, pause, park_after_seconds),
        )
        if state == "parked":
            log.error("webhook.parked", receiver=name, subject=str(found.subject), reason=failure.reason)

    async def went_on(self, name: str, subject: UUID, version: int) -> None:
        """Note that a waiting subject's messages were taken up to and with this version."""
        await self._pool.execute(_WENT_ON, name, subject, version)

    async def done(self, name: str, subject: UUID, version: int) -> None:
        """Forget a subject whose messages were all taken up to and with this version."""
        await self._pool.execute(_DONE, name, subject, version)

    async def kept_back(self, name: str, subjects: Collection[UUID]) -> set[UUID]:
        """Return those subjects whose messages wait."""
        return {row["guest_id"] for row in await self._pool.fetch(_KEPT_BACK, name, list(subjects))}

    async def due(self, name: str, limit: int) -> list[WaitingSubject]:
        """Return subjects whose next attempt is due."""
        return [WaitingSubject(*row) for row in await self._pool.fetch(_DUE, name, limit)]

    async def failing(self, name: str) -> int:
        """Return how many waiting subjects failed since the receiver last took anything."""
        return int(await self._pool.fetchval(_FAILING, name))

    async def receivers(self) -> list[ReceiverState]:
        """Return all receivers that ever began, by name."""
        return [ReceiverState(*row) for row in await self._pool.fetch(_RECEIVERS, TASK_PREFIX)]

    async def waiting(self, name: str, limit: int) -> list[WaitingSubject]:
        """Return the waiting and parked subjects, those that failed longest first."""
        return [WaitingSubject(*row) for row in await self._pool.fetch(_WAITING, name, limit)]

    async def find(self, name: str, subject: UUID) -> WaitingSubject:
        """Return one of them. Raises NotParked."""
        row = await self._pool.fetchrow(_FIND, name, subject)
        if row is None:
            raise NotParked
        return WaitingSubject(*row)

    async def retry(self, name: str, subject: UUID, by: str) -> None:
        """Let the worker try now. Raises NotParked."""
        if await self._pool.fetchval(_RETRY, name, subject) is None:
            raise NotParked
        log.info("webhook.retried", receiver=name, subject=str(subject), by=by)

    async def skip(self, name: str, subject: UUID, reason: str, by: str) -> int:
        """Skip the message that is not taken; return its version. Raises NotParked."""
        async with self._pool.acquire() as connection, connection.transaction():
            version = await connection.fetchval(_SKIP, name, subject)
            if version is None:
                raise NotParked
            await connection.execute(_SKIPPED, name, subject, version, reason, by)
        log.info("webhook.skipped", receiver=name, subject=str(subject), version=version, by=by)
        return int(version)

    async def update_metrics(self, names: Callable[[], Container[str]]) -> None:
        """Set the gauges to the present numbers, of the receivers that the settings name."""
        known = names()
        states = [state for state in await self.receivers() if state.name in known]
        for gauge in (metrics.webhook_waiting, metrics.webhook_lag, metrics.webhook_stopped):
            gauge.clear()
        for found in states:
            metrics.webhook_waiting.labels(found.name, "waiting").set(found.waiting)
            metrics.webhook_waiting.labels(found.name, "parked").set(found.parked)
            metrics.webhook_lag.labels(found.name).set(found.lag or 0)
            metrics.webhook_stopped.labels(found.name).set(found.stopped_at is not None)


_COLUMNS = "guest_id, version, position, state, refused, reason, since, attempts, next_try"
_STOPPED = "SELECT stopped_at IS NOT NULL FROM webhook_receivers WHERE name = $1"
_KNOWN = "INSERT INTO webhook_receivers (name) VALUES ($1) ON CONFLICT DO NOTHING"
_STOP = "UPDATE webhook_receivers SET stopped_at = clock_timestamp(), stop_reason = $2 WHERE name = $1"
_RESUME = """
UPDATE webhook_receivers SET stopped_at = NULL, stop_reason = NULL, resumed_by = $2 WHERE name = $1
RETURNING name
"""
_DELIVERED = """
UPDATE webhook_receivers SET delivered = delivered + $2, delivered_at = clock_timestamp(),
       failing_since = NULL, failure = NULL WHERE name = $1
"""
_FAILED = """
UPDATE webhook_receivers SET failing_since = coalesce(failing_since, clock_timestamp()), failure = $2
 WHERE name = $1
"""
_PARK = """
INSERT INTO webhook_parked (receiver, guest_id, version, position, state, refused, reason, next_try)
VALUES ($1, $2, $3, $4, 'waiting', $5, $6, clock_timestamp() + make_interval(secs => $7))
ON CONFLICT DO NOTHING
"""
# A message that the receiver never answered is parked only when it took another one since.
_FAILED_AGAIN = """
UPDATE webhook_parked AS waiting
   SET version = $3, position = $4, refused = $5, reason = $6,
       since = CASE WHEN version = $3 THEN since ELSE clock_timestamp() END,
       attempts = CASE WHEN version = $3 THEN attempts + 1 ELSE 1 END,
       next_try = clock_timestamp() + make_interval(secs => $7),
       state = CASE WHEN version = $3 AND since <= clock_timestamp() - make_interval(secs => $8)
                     AND ($5 OR EXISTS (SELECT FROM webhook_receivers
                                         WHERE name = $1 AND delivered_at > waiting.since))
                    THEN 'parked' ELSE 'waiting' END
 WHERE receiver = $1 AND guest_id = $2 AND version <= $3
RETURNING state
"""
_WENT_ON = """
UPDATE webhook_parked SET version = $3 + 1, attempts = 0, since = clock_timestamp()
 WHERE receiver = $1 AND guest_id = $2 AND version <= $3
"""
_DONE = "DELETE FROM webhook_parked WHERE receiver = $1 AND guest_id = $2 AND version <= $3 + 1"
_KEPT_BACK = "SELECT guest_id FROM webhook_parked WHERE receiver = $1 AND guest_id = ANY ($2)"
_DUE = f"""
SELECT {_COLUMNS} FROM webhook_parked
 WHERE receiver = $1 AND state = 'waiting' AND next_try <= clock_timestamp() ORDER BY next_try LIMIT $2
"""  # noqa: S608 - constants only
_FAILING = """
SELECT count(*) FROM webhook_parked JOIN webhook_receivers ON name = receiver
 WHERE receiver = $1 AND state = 'waiting'
   AND since > coalesce(delivered_at, '-infinity'::timestamptz)
"""
_RECEIVERS = """
SELECT receiver.name, checkpoints.position,
       (SELECT coalesce(max(notification_id), 0) FROM stored_events) - checkpoints.position AS lag,
       delivered, delivered_at, failing_since, failure, stopped_at, stop_reason,
       (SELECT count(*) FROM webhook_parked WHERE receiver = receiver.name AND state = 'waiting'),
       (SELECT count(*) FROM webhook_parked WHERE receiver = receiver.name AND state = 'parked')
  FROM webhook_receivers AS receiver LEFT JOIN checkpoints ON checkpoints.name = $1 || receiver.name
 ORDER BY receiver.name
"""
_WAITING = f"SELECT {_COLUMNS} FROM webhook_parked WHERE receiver = $1 ORDER BY since LIMIT $2"  # noqa: S608
_FIND = f"SELECT {_COLUMNS} FROM webhook_parked WHERE receiver = $1 AND guest_id = $2"  # noqa: S608
_RETRY = """
UPDATE webhook_parked SET state = 'waiting', next_try = clock_timestamp()
 WHERE receiver = $1 AND guest_id = $2 RETURNING guest_id
"""
_SKIP = """
UPDATE webhook_parked SET version = version + 1, attempts = 0, since = clock_timestamp(),
       state = 'waiting', next_try = clock_timestamp()
 WHERE receiver = $1 AND guest_id = $2 RETURNING version - 1
"""
_SKIPPED = """
INSERT INTO webhook_skips (receiver, guest_id, version, reason, skipped_by) VALUES ($1, $2, $3, $4, $5)
"""
