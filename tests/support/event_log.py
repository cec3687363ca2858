"""Events to append, and the two kinds of event log that every promise is tested on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from shared.event_log import SCHEMA, EventLog, InMemoryEventLog, Metadata, NewEvent, PostgresEventLog
from shared.platform.postgres import migrate, open_pool

METADATA = Metadata(caused_by="tests", correlation_id=UUID(int=1), causation_id=UUID(int=2))

CARDS_SCHEMA = (
    (
        "cards",
        """
        CREATE TABLE cards (
            organisation text, number text, note text DEFAULT 'none', by uuid, seal bytea, extra jsonb,
            on_day date, at_time timestamptz, count bigint, chip boolean,
            PRIMARY KEY (organisation, number)
        );
        SELECT rows_die_with_subject('cards', 'by')
        """,
    ),
)
LOG_SCHEMA = (*SCHEMA, *CARDS_SCHEMA)
CARDS_KEY = {"cards_pkey": ("cards", ("organisation", "number"))}


@dataclass(frozen=True)
class LogUnderTest:
    """A log and a look at its side tables."""

    log: EventLog
    rows: Callable[[str], Awaitable[list[dict[str, Any]]]]


def new_event(
    stream: UUID, version: int, *, topic: str = "topic", state: bytes = b"{}", metadata: Metadata = METADATA
) -> NewEvent:
    """Make an event with an id of its own."""
    return NewEvent(stream, version, topic, state, uuid4(), metadata)


@asynccontextmanager
async def in_memory() -> AsyncIterator[LogUnderTest]:
    """A log in memory that knows the key of `cards`."""
    log = InMemoryEventLog(CARDS_KEY, {"cards": "by"})

    async def rows(table: str) -> list[dict[str, Any]]:
        return [dict(row) for row in log.rows(table)]

    yield LogUnderTest(log, rows)


@asynccontextmanager
async def in_postgres(url: str) -> AsyncIterator[LogUnderTest]:
    """A log in the database at `url`, with a side table `cards`."""
    await migrate(url, LOG_SCHEMA)
    async with await open_pool(url, min_size=3, max_size=6) as pool, PostgresEventLog(pool) as log:

        async def rows(table: str) -> list[dict[str, Any]]:
            return [dict(row) for row in await pool.fetch(f"SELECT * FROM {table}")]  # noqa: S608

        yield LogUnderTest(log, rows)
