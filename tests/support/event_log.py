"""Event logs under test, an aggregate for them, golden files of stored events, and logs as files."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import IO, Any
from uuid import UUID, uuid4

import orjson
from eventsourcing.domain import Aggregate, CanMutateAggregate
from eventsourcing.persistence import StoredEvent

from shared import messaging
from shared.event_log import (
    SCHEMA,
    DataKeys,
    EventLog,
    InMemoryEventLog,
    Metadata,
    NewEvent,
    PostgresEventLog,
    SideRow,
    make_mapper,
    set_data_key,
)
from shared.event_log.export import Decrypter, Terms, Transferred, TransferredTable, export_log, import_log
from shared.event_log.export.format import DATA_KEYS, Chain, content_of
from shared.platform.postgres import Connection, Script, open_pool
from shared.platform.roles import Rights
from shared.web import idempotency
from tests.support.servers import migrated, owner_url

METADATA = Metadata(caused_by="tests", correlation_id=UUID(int=1), causation_id=UUID(int=2))

CARDS_SCHEMA = (
    Script(
        "cards",
        """
        CREATE TABLE cards (
            organisation text, number text, note text DEFAULT 'none', by uuid, seal bytea, extra jsonb,
            on_day date, at_time timestamptz, count bigint, chip boolean,
            PRIMARY KEY (organisation, number)
        );
        SELECT rows_die_with_subject('cards', 'by')
        """,
        {"cards": Rights("SELECT, INSERT, DELETE")},
    ),
)
LOG_SCHEMA = (*SCHEMA, *CARDS_SCHEMA)
CARDS_KEY = {"cards_pkey": ("cards", ("organisation", "number"))}

STREAM = UUID(int=0xE)
NOT_STORED = {"originator_id", "originator_version"}  # they have columns of their own
CARDS = TransferredTable("cards", 'organisation COLLATE "C", number COLLATE "C"')
TABLES = (DATA_KEYS, *messaging.TRANSFERRED_TABLES, *idempotency.TRANSFERRED_TABLES, CARDS)
MASTER_KEY = bytes(range(32))
SEALING_KEY = hmac.digest(MASTER_KEY, b"tests", hashlib.sha256)
TERMS = Terms("library", TABLES, [SEALING_KEY])
ALL_TABLES = ("stored_events", *(table.name for table in TABLES))
INSERT_EVENT = "INSERT INTO stored_events VALUES ($2, $3, $1, $4, $5, $6, now(), $7, $8, $9)"


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


async def make_unreadable(log: EventLog, stream: UUID) -> None:
    """Write an event of an unknown type into a stream, so that it cannot be folded any more."""
    written = await log.stream(stream)
    last = written[-1].stream_version if written else 0
    await log.append([new_event(stream, last + 1, topic="tests.unreadable")])


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
    await migrated(url, LOG_SCHEMA)
    async with await open_pool(url, min_size=3, max_size=6) as pool, PostgresEventLog(pool) as log:

        async def rows(table: str) -> list[dict[str, Any]]:
            return [dict(row) for row in await pool.fetch(f"SELECT * FROM {table}")]  # noqa: S608

        yield LogUnderTest(log, rows)


class Reader(Aggregate):
    """A person who borrows books."""

    TOPIC = "tests.reader"

    class Event(Aggregate.Event):
        TOPIC = "tests.reader-event"

    class Enrolled(Event, Aggregate.Created):
        """Version 1 knew no fee."""

        TOPIC = "tests.reader-enrolled"
        class_version = 2

        organisation: str
        begins_on: date
        fee: Decimal
        sealed: bytes

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["fee"] = Decimal("0.00")

    class Renewed(Event):
        TOPIC = "tests.reader-renewed"

        until: date
        by: UUID

        def apply(self, aggregate: Reader) -> None:
            aggregate.until = self.until

    def __init__(self, organisation: str, begins_on: date, fee: Decimal, sealed: bytes) -> None:
        self.organisation = organisation
        self.begins_on = begins_on
        self.fee = fee
        self.sealed = sealed
        self.until: date | None = None

    @classmethod
    def enrol(cls, *, sealed: bytes, on: date, now: datetime, reader_id: UUID | None = None) -> Reader:
        return cls._create(
            cls.Enrolled,
            id=reader_id or uuid4(),
            timestamp=now,
            organisation="1001",
            begins_on=on,
            fee=Decimal("0.00"),
            sealed=sealed,
        )

    def renew(self, *, until: date, by: UUID, now: datetime) -> None:
        self.trigger_event(self.Renewed, until=until, by=by, timestamp=now)


@dataclass(frozen=True, slots=True)
class StoredOnce:
    """One golden file: the state to the letter, and each field after reading, as Python writes it."""

    topic: str
    state: bytes
    fields: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> StoredOnce:
        """Read `<topic>.v<class_version>.json`."""
        content = orjson.loads(path.read_bytes())
        topic, _, _ = path.stem.rpartition(".v")
        return cls(topic, content["state"].encode(), content["fields"])

    def event(self) -> Any:
        """What the mapper makes of it today."""
        return make_mapper().to_domain_event(StoredEvent(STREAM, 1, self.topic, self.state))


def fields_of(event: Any) -> dict[str, str]:
    """Each stored field with its type to be seen: `datetime.date(2025, 9, 11)`."""
    return {name: repr(value) for name, value in vars(event).items() if name not in NOT_STORED}


def keep(event: Any, folder: Path) -> Path:
    """Make the golden file of a new type or version; never in the place of one that is there."""
    stored = make_mapper().to_stored_event(event)
    path = folder / f"{stored.topic}.v{_version(type(event))}.json"
    content = {"state": stored.state.decode(), "fields": fields_of(event)}
    with path.open("x", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def must_be_there(*aggregates: type[Aggregate]) -> set[str]:
    """The names of the golden files: for each event type one for every version that it ever had."""
    return {
        f"{event.TOPIC}.v{version}.json"
        for aggregate in aggregates
        for event in _event_types(aggregate.Event)
        for version in range(1, _version(event) + 1)
    }


def _version(event: type[CanMutateAggregate[UUID]]) -> int:
    version: int = getattr(event, "class_version", 1)
    return version


def _event_types(kind: type[CanMutateAggregate[UUID]]) -> Iterator[Any]:
    """All below a kind that have a topic of their own, wherever they are defined."""
    for event in kind.__subclasses__():
        if "TOPIC" in vars(event):
            yield event
        yield from _event_types(event)


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
    """A connection of the owner, who may import, to a database that has the schema."""
    await migrated(url, [*SCHEMA, *messaging.SCHEMA, *idempotency.SCHEMA, *CARDS_SCHEMA])
    owner = owner_url(url)
    async with await open_pool(owner, min_size=1, max_size=1) as pool, pool.acquire() as connection:
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
        INSERT_EVENT, position, stream, version, event_id, correlation, causation, topic, caused_by, content
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
    """A file of these lines with good seals, which can only be made with the key."""
    chain = Chain(key)
    return b"".join(chain.seal(content_of(line)) for line in lines)


def edited(line: bytes, **changes: Any) -> bytes:
    """A line with other members; its seal is not good any more."""
    return orjson.dumps({**orjson.loads(line), **changes}) + b"\n"


def with_data_key(aggregate: Aggregate, keys: DataKeys) -> SideRow:
    """Give a new aggregate a data key; return the row to save with it."""
    key, row = keys.create(aggregate.id)
    set_data_key(aggregate, key)
    return row
