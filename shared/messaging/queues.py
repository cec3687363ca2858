"""How far messages have come, out and in: for operators."""

from dataclasses import dataclass

import asyncpg

from shared.messaging.errors import FeedUnavailable
from shared.messaging.feed import Feed

OUT, IN = "relay", "sweep"
MOST_COUNTED = 500

STATUS = """
SELECT task.name, coalesce(checkpoints.position, 0) AS position,
       CASE WHEN lease.expires_at > clock_timestamp() THEN lease.holder END AS led_by,
       (SELECT coalesce(max(notification_id), 0) FROM stored_events) AS head
FROM unnest($1::text[]) AS task (name)
LEFT JOIN checkpoints USING (name) LEFT JOIN leases AS lease USING (name)
"""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One way of the messages: "relay" (out, to the broker) or "sweep" (in, from the other's feed).

    `lag`: events beyond `position`, at most MOST_COUNTED for those that come in; None when the other
    service cannot be asked. `led_by` None: nobody does it now.
    """

    name: str
    position: int
    lag: int | None
    led_by: str | None


async def queues_of(pool: asyncpg.Pool, other: Feed, *, with_relay: bool) -> list[QueueStatus]:
    """The ways that there are: without a broker the other service reads our feed, and there is no relay."""
    rows = await pool.fetch(STATUS, [OUT, IN] if with_relay else [IN])
    return [
        QueueStatus(
            row["name"],
            row["position"],
            row["head"] - row["position"]
            if row["name"] == OUT
            else await _still_to_come(other, row["position"]),
            row["led_by"],
        )
        for row in rows
    ]


async def _still_to_come(other: Feed, position: int) -> int | None:
    try:
        page = await other.after(position, limit=MOST_COUNTED, wait=0)
    except FeedUnavailable:
        return None
    return page.position - position if page.messages or page.unreadable else 0
