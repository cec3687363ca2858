"""How far the messages are, out and in: for operators."""

from dataclasses import dataclass

import asyncpg

from shared.messaging import metrics
from shared.messaging.broker_faults import update_fault_metrics
from shared.messaging.errors import FeedUnavailable
from shared.messaging.feed import Feed
from shared.messaging.other_log import update_other_log_metrics
from shared.platform.leases import HELD_BY

OUT, IN = "relay", "sweep"
MOST_COUNTED = 500

STATUS = f"""
SELECT task.name, coalesce(checkpoints.position, 0) AS position, {HELD_BY.format("task.name")} AS led_by,
       (SELECT coalesce(max(notification_id), 0) FROM stored_events) AS head
FROM unnest($1::text[]) AS task (name) LEFT JOIN checkpoints USING (name)
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One direction of the messages: "relay" (out, to the broker) or "sweep" (in, from the other's feed).

    `lag`: events after `position`, at most MOST_COUNTED for incoming ones; None when the other service does
    not respond. `led_by`: the process that runs the task now, or None.
    """

    name: str
    position: int
    lag: int | None
    led_by: str | None


async def queues_of(pool: asyncpg.Pool, other: Feed, *, with_relay: bool) -> list[QueueStatus]:
    """Return the directions. Without a broker there is no relay: the other service reads our feed."""
    rows = await pool.fetch(STATUS, [OUT, IN] if with_relay else [IN])
    return [
        QueueStatus(
            row["name"],
            row["position"],
            row["head"] - row["position"]
            if row["name"] == OUT
            else await _incoming_lag(other, row["position"]),
            row["led_by"],
        )
        for row in rows
    ]


async def relay_lag(database: asyncpg.Pool | asyncpg.Connection) -> int:
    """Return how many events of the log the broker has not confirmed yet."""
    [row] = await database.fetch(STATUS, [OUT])
    return int(row["head"] - row["position"])


async def update_queue_metrics(pool: asyncpg.Pool) -> None:
    """Set the gauges of both directions and of the broker, whichever process does the work."""
    out, into = await pool.fetch(STATUS, [OUT, IN])
    metrics.relay_lag.set(out["head"] - out["position"])
    metrics.feed_position.set(into["position"])
    await update_fault_metrics(pool)
    await update_other_log_metrics(pool)


async def _incoming_lag(other: Feed, position: int) -> int | None:
    try:
        page = await other.after(position, limit=MOST_COUNTED, wait=0)
    except FeedUnavailable:
        return None
    return page.position - position if page.messages or page.unreadable else 0
