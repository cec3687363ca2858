"""Logs to move: made in a database, exported to bytes, imported into another database."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import IO, Any
from uuid import UUID, uuid4

import orjson

from shared import messaging
from shared.event_log import SCHEMA
from shared.event_log.export import Decrypter, Terms, Transferred, TransferredTable, export_log, import_log
from shared.event_log.export.format import DATA_KEYS, Chain, content_of
from shared.platform.postgres import Connection, migrate, open_pool
from shared.web import idempotency
from tests.support.event_log import CARDS_SCHEMA

CARDS = TransferredTable("cards", 'organisation COLLATE "C", number COLLATE "C"')
TABLES = (DATA_KEYS, *messaging.TRANSFERRED_TABLES, *idempotency.TRANSFERRED_TABLES, CARDS)
MASTER_KEY = bytes(range(32))
SEALING_KEY = hmac.digest(MASTER_KEY, b"tests", hashlib.sha256)
TERMS = Terms("library", TABLES, [SEALING_KEY])
ALL_TABLES = ("stored_events", *(table.name for table in TABLES))
EVENT = "INSERT INTO stored_events VALUES ($2, $3, $1, $4, $5, $6, now(), $7, $8, $9)"


class Counted:
    """Progress that is only counted."""

    def __init__(self) -> None:
        self.total = 0
        self.done = 0

    def expect(self, total: int) -> None:
        self.total = total

    def __call__(self, more: int) -> None:
        self.done += more


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection to a database that has the schema."""
    await migrate(url, [*SCHEMA, *messaging.SCHEMA, *idempotency.SCHEMA, *CARDS_SCHEMA])
    async with await open_pool(url, min_size=1, max_size=1) as pool, pool.acquire() as connection:
        yield connection


async def emptied(connection: Connection) -> Connection:
    """The same, as on the first day."""
    for name in reversed(ALL_TABLES):
        await connection.execute(f"DELETE FROM {name}")  # noqa: S608
    await connection.execute("UPDATE event_log_identity SET log_id = gen_random_uuid()")
    return connection


async def put_event(
    connection: Connection,
    position: int,
    stream: UUID,
    version: int,
    state: bytes = b"{}",
    *,
    by: str = "clerk",
) -> None:
    """An event, straight into the table: also one that no append would make."""
    row = ("library.something-happened", uuid4(), uuid4(), None, by, state)
    topic, event_id, correlation, causation, caused_by, content = row
    await connection.execute(
        EVENT, position, stream, version, event_id, correlation, causation, topic, caused_by, content
    )


async def exported(connection: Connection, opener: Decrypter | None = None, terms: Terms = TERMS) -> bytes:
    """The whole file."""
    pieces: list[bytes] = []
    progress = Counted()
    await export_log(connection, terms, pieces.append, progress, opener)
    assert progress.done == progress.total
    return b"".join(pieces)


async def imported(connection: Connection, file: bytes | IO[bytes], terms: Terms = TERMS) -> Transferred:
    """The whole file, taken over."""
    progress = Counted()
    stream = BytesIO(file) if isinstance(file, bytes) else file
    done = await import_log(connection, terms, stream, progress)
    assert progress.done == progress.total
    return done


async def is_empty(connection: Connection) -> bool:
    """Whether nothing was written anywhere."""
    counts = [await connection.fetchval(f"SELECT count(*) FROM {name}") for name in ALL_TABLES]  # noqa: S608
    return not any(counts)


def resealed(lines: Sequence[bytes], key: bytes = SEALING_KEY) -> bytes:
    """A file of these lines with good seals: what only who has the key can make."""
    chain = Chain(key)
    return b"".join(chain.seal(content_of(line)) for line in lines)


def edited(line: bytes, **changes: Any) -> bytes:
    """A line with other members; its seal is not good any more."""
    return orjson.dumps({**orjson.loads(line), **changes}) + b"\n"
