"""What came in and is no message of ours: kept for an operator to see. It stops no guest."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg
import structlog

from shared.messaging import metrics

logger = structlog.get_logger(__name__)


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
    logger.error("message.unreadable", reason=reason)
    await pool.execute("INSERT INTO unreadable_messages (body, reason) VALUES ($1, $2)", body, reason)


async def kept(pool: asyncpg.Pool) -> list[UnreadableMessage]:
    """All that was kept, oldest first."""
    rows = await pool.fetch("SELECT id, body, reason, received_at FROM unreadable_messages ORDER BY id")
    return [UnreadableMessage(**row) for row in rows]
