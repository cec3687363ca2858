"""Four ways to save guests: our log, the `eventsourcing` library's application, a bare INSERT, a COPY."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg
from eventsourcing.application import Application
from eventsourcing.persistence import JSONTranscoder

from registration.domain.guest import Guest
from shared.event_log import (
    AggregateStore,
    MasterKeys,
    PostgresEventLog,
    data_key_of,
    make_mapper,
    sealed,
)
from shared.event_log.aggregate_store import BytesAsBase64, DateAsISO
from shared.platform.postgres import open_pool
from tests.benchmarks.guests import METADATA

T = TypeVar("T")

COLUMNS = (
    *("notification_id", "originator_id", "originator_version", "topic", "state"),
    *("event_id", "recorded_at", "caused_by", "correlation_id", "causation_id"),
)
ROW = "($%s, $%s, $%s, $%s, $%s, $%s, now(), $%s, $%s, NULL)"


async def share_out(items: Sequence[T], writers: int, write: Callable[[T], Awaitable[Any]]) -> float:
    """Write all items with this number of concurrent writers. Return the seconds."""
    waiting = iter(items)

    async def writer() -> None:
        for item in waiting:
            await write(item)

    gc.collect()
    gc.freeze()  # a service would not have the prepared items in memory
    started = time.perf_counter()
    await asyncio.gather(*(writer() for _ in range(writers)))
    return time.perf_counter() - started


@asynccontextmanager
async def our_log(url: str) -> AsyncIterator[tuple[AggregateStore, asyncpg.Pool]]:
    """Open our event log as the services do; its database has the schema."""
    async with await open_pool(url, min_size=3, max_size=10) as pool, PostgresEventLog(pool) as log:
        yield AggregateStore(log, make_mapper(), MasterKeys([bytes(32)]).unwrap), pool


class LibraryApplication(Application[UUID]):
    """The library's own application over PostgreSQL, without the library's encryption and compression."""

    name = "stored"

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        super().register_transcodings(transcoder)
        transcoder.register(DateAsISO())
        transcoder.register(BytesAsBase64())

    def save_all(self, guests: Sequence[Guest], threads: int) -> float:
        """Save guests in this number of threads. Return the seconds."""
        gc.collect()
        gc.freeze()
        with ThreadPoolExecutor(threads) as executor:
            list(executor.map(self.repository_warm, range(threads)))
            started = time.perf_counter()
            for _ in executor.map(self.save, guests):
                pass
            return time.perf_counter() - started

    def repository_warm(self, _thread: int) -> None:
        """Open a connection before the clock starts."""
        self.recorder.max_notification_id()


@contextmanager
def library(url: str, threads: int) -> Iterator[LibraryApplication]:
    """Open the library's application with a connection for every thread."""
    address = urlsplit(url)
    with LibraryApplication(
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": address.path[1:],
            "POSTGRES_HOST": str(address.hostname),
            "POSTGRES_PORT": str(address.port),
            "POSTGRES_USER": str(address.username),
            "POSTGRES_PASSWORD": str(address.password),
            "POSTGRES_POOL_SIZE": str(threads),
        }
    ) as application:
        yield application


class BareTable:
    """Our table without our function `append_events`: the speed of PostgreSQL alone."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._mapper = make_mapper()
        self._position = 0

    def rows(self, guests: Iterable[Guest]) -> list[tuple[Any, ...]]:
        """Map the events of guests to rows of the table."""
        rows = []
        for event, key in (
            (event, data_key_of(guest)) for guest in guests for event in guest.collect_events()
        ):
            stored = self._mapper.to_stored_event(sealed(event, key))
            self._position += 1
            rows.append(
                (
                    *(
                        self._position,
                        stored.originator_id,
                        stored.originator_version,
                        stored.topic,
                        stored.state,
                    ),
                    *(uuid4(), event.timestamp, METADATA.caused_by, METADATA.correlation_id, None),
                )
            )
        return rows

    async def insert(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows of one guest: one statement, one transaction."""
        values = [value for row in rows for value in (*row[:6], *row[7:9])]
        await self._connection.execute(_insert_of(len(rows)), *values)

    async def copy(self, guests: Sequence[Guest]) -> None:
        """Map guests and COPY them, all in one transaction."""
        await self._connection.copy_records_to_table(
            "stored_events", records=self.rows(guests), columns=COLUMNS
        )


@asynccontextmanager
async def bare_table(url: str) -> AsyncIterator[BareTable]:
    """Open an empty log, to write into with plain SQL."""
    connection = await asyncpg.connect(url)
    try:
        yield BareTable(connection)
    finally:
        await connection.close()


def _insert_of(rows: int) -> str:
    places = iter(range(1, 8 * rows + 1))
    values = ", ".join(ROW % tuple(next(places) for _ in range(8)) for _ in range(rows))
    return f"INSERT INTO stored_events ({', '.join(COLUMNS)}) VALUES {values}"  # noqa: S608 - constants
