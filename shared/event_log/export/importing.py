"""Import a log from a file: every line is checked, and one transaction writes all of it or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast
from uuid import UUID

import asyncpg
import orjson

from shared.event_log.export.format import (
    EXPORT_AGAIN,
    FORMAT,
    FORMAT_VERSION,
    Chain,
    Entry,
    EventEntry,
    FileRefused,
    LogNotEmpty,
    Progress,
    RowEntry,
    Terms,
    Transferred,
    TransferredTable,
    content_of,
    event_entry,
    row_entry,
)
from shared.platform.postgres import Connection, is_transient

LONGEST_LINE = 64 * 1024 * 1024
LONGEST_HEADER = 64 * 1024
"""In bytes, as LONGEST_LINE. Line 1 is read before it is known who wrote the file."""
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)
CHANGED = "it was changed, or a line before it is missing, added or moved"
OTHER_KEY = "it was changed, or sealed under a master key that is not in the key file"


@dataclass(frozen=True, slots=True)
class Header:
    """What line 1 says about the file."""

    log_id: UUID
    events: int
    rows: int


class LogFile:
    """The file of an import. Read `header` first, then `entries`. Both raise FileRefused."""

    def __init__(self, file: IO[bytes], terms: Terms) -> None:
        self._file = file
        self._terms = terms
        self._tables = {table.name for table in terms.tables}
        self._line = 0
        self._events = 0
        self._rows: Counter[str] = Counter()

    def header(self) -> Header:
        """Read line 1. Raises FileRefused when the file is not an export of this service's log."""
        line = self._next_line(LONGEST_HEADER)
        content = self._read(line)
        self._check_origin(content)
        self._chain = self._chain_of(line)
        try:
            self._header = Header(UUID(content["log_id"]), int(content["position"]), int(content["rows"]))
        except UNREADABLE:
            raise self._refusal("it is not a header") from None
        return self._header

    def entries(self) -> Iterator[Entry]:
        """Yield events and rows up to the footer. The footer must count them correctly and end the file."""
        while True:
            line = self._next_sealed_line()
            content = self._read(line)
            kind = content.get("kind")
            if kind == "footer":
                break
            yield self._event(content) if kind == "event" else self._row(content, line)
        self._check_event_count()
        if content.get("events") != self._events or Counter(content.get("rows")) != self._rows:
            raise self._refusal("the footer counts do not match the lines before it")
        if self._file.read(1):
            self._line += 1
            raise self._refusal("there are more lines after the footer")

    def done(self) -> Transferred:
        """Return what was read."""
        rows = {table.name: self._rows[table.name] for table in self._terms.tables}
        return Transferred(self._header.log_id, self._events, rows)

    def _check_origin(self, content: Mapping[str, Any]) -> None:
        # Before the check of the seal, which would fail as well, with a less helpful message.
        service, version = content.get("service"), content.get("version")
        if content.get("format") != FORMAT:
            raise self._refusal("it is not the export of an event log", "name another file")
        if version != FORMAT_VERSION:
            reason = f"format version {version} is unknown here; this release reads version {FORMAT_VERSION}"
            raise self._refusal(reason, "use the release that wrote it")
        if service != self._terms.service:
            raise self._refusal(f"it is the log of {service}", f"use `{service} events import`")
        if content.get("decrypted"):
            raise self._refusal("it is decrypted, for reading only", "export without --decrypt")

    def _chain_of(self, line: bytes) -> Chain:
        """Return the chain of the key that sealed the file. It may be older than the newest master key."""
        for key in self._terms.sealing_keys:
            chain = Chain(key)
            if chain.follows(line):
                return chain
        raise self._refusal(OTHER_KEY, "add that key to the key file, or export the log again")

    def _next_line(self, longest: int = LONGEST_LINE) -> bytes:
        self._line += 1
        line = self._file.readline(longest)
        if not line.endswith(b"\n"):
            raise self._refusal("the file is cut off here")
        return line

    def _next_sealed_line(self) -> bytes:
        line = self._next_line()
        if not self._chain.follows(line):
            raise self._refusal(CHANGED)
        return line

    def _read(self, line: bytes) -> Mapping[str, Any]:
        try:
            content: Mapping[str, Any] = orjson.loads(line)
            return {**content}
        except UNREADABLE:
            raise self._refusal("it is not a JSON object") from None

    def _event(self, content: Mapping[str, Any]) -> EventEntry:
        try:
            entry = event_entry(self._line, content)
        except UNREADABLE:
            raise self._refusal("the event cannot be read") from None
        expected = self._events + 1
        if entry.position != expected:
            wrong = "comes again" if entry.position < expected else f"comes where position {expected} must be"
            raise self._refusal(f"position {entry.position} {wrong}")
        self._events = expected
        return entry

    def _row(self, content: Mapping[str, Any], line: bytes) -> RowEntry:
        self._check_event_count()
        try:
            entry = row_entry(self._line, content, line)
        except UNREADABLE:
            raise self._refusal("it is neither an event nor a row") from None
        if entry.target[0] not in self._tables:
            raise self._refusal(f"there is no table {entry.target[0]} here", "use the release that wrote it")
        self._rows[entry.target[0]] += 1
        return entry

    def _check_event_count(self) -> None:
        if self._events != self._header.events:
            raise self._refusal(f"there are {self._events} events, not {self._header.events} as line 1 says")

    def _refusal(self, reason: str, advice: str = EXPORT_AGAIN) -> FileRefused:
        return FileRefused(self._line, reason, advice)


BATCH = 1000
# The lock that every append takes: nothing else can be written until the import has ended.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('event log'), 1)"
TAKE_OVER_ID = "UPDATE event_log_identity SET log_id = $1"
EVENT_COLUMNS = (
    "notification_id",
    "originator_id",
    "originator_version",
    "topic",
    "state",
    "event_id",
    "recorded_at",
    "caused_by",
    "correlation_id",
    "causation_id",
)
# Each last version is one step in the primary key, however many versions the stream has.
LAST_VERSIONS = """
SELECT stream, coalesce((SELECT originator_version FROM stored_events WHERE originator_id = stream
                          ORDER BY originator_version DESC LIMIT 1), -1) AS version
  FROM unnest($1::uuid[]) AS stream
"""


async def import_log(
    connection: Connection, terms: Terms, file: IO[bytes], progress: Progress
) -> Transferred:
    """Import a file into an empty log; return what was imported.

    Raises LogNotEmpty and FileRefused; nothing is written then.
    """
    reading = LogFile(file, terms)
    async with connection.transaction():
        await connection.execute(LOCK)
        await _make_room(connection, terms.tables)
        header = reading.header()
        progress.expect(header.events + header.rows)
        for batch in _batches(reading.entries()):
            await _write(connection, batch)
            progress(len(batch))
        await connection.execute(TAKE_OVER_ID, header.log_id)
        await _restore_triggers_and_sequences(connection, terms.tables)
    return reading.done()


async def _make_room(connection: Connection, tables: Sequence[TransferredTable]) -> None:
    must_be_empty = [table.name for table in tables if not table.is_filled_at_first]
    for name in ("stored_events", *must_be_empty):
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})"):  # noqa: S608 - our constants
            raise LogNotEmpty(name)
    for table in tables:
        if table.is_filled_at_first:
            await connection.execute(f"DELETE FROM {table.name}")  # noqa: S608
        # The file already has the values that a trigger would put into a row.
        await connection.execute(f"ALTER TABLE {table.name} DISABLE TRIGGER USER")


async def _restore_triggers_and_sequences(connection: Connection, tables: Sequence[TransferredTable]) -> None:
    for table in tables:
        await connection.execute(f"ALTER TABLE {table.name} ENABLE TRIGGER USER")
        if table.numbered_by:
            last = f"SELECT max({table.numbered_by}) FROM {table.name}"  # noqa: S608
            sequence = f"pg_get_serial_sequence('{table.name}', '{table.numbered_by}')"
            await connection.execute(f"SELECT setval({sequence}, ({last}))")


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield neighbouring entries for the same table and columns together, at most BATCH at a time."""
    batch: list[Entry] = []
    for entry in entries:
        if batch and (len(batch) == BATCH or entry.target != batch[0].target):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


async def _write(connection: Connection, batch: Sequence[Entry]) -> None:
    try:
        if isinstance(batch[0], EventEntry):
            await _copy_events(connection, cast("Sequence[EventEntry]", batch))
        else:
            await _insert_rows(connection, cast("Sequence[RowEntry]", batch))
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if is_transient(error):
            raise
        until = "" if len(batch) == 1 else f", or a line up to {batch[-1].line}"
        reason = f"the database refuses it{until} ({type(error).__name__})"
        raise FileRefused(batch[0].line, reason) from error


async def _copy_events(connection: Connection, events: Sequence[EventEntry]) -> None:
    streams = {event.stream for event in events}
    found = await connection.fetch(LAST_VERSIONS, list(streams))
    last: dict[UUID, int] = {row["stream"]: row["version"] for row in found}
    for event in events:
        before, version = last[event.stream], event.version
        # A stream begins with version 1 or 0; every later version follows the one before it.
        if version != before + 1 and (before, version) != (-1, 1):
            wrong = "comes again" if version <= before else f"does not follow {max(before, 0)}"
            raise FileRefused(event.line, f"version {version} of stream {event.stream} {wrong}")
        last[event.stream] = version
    await connection.copy_records_to_table(
        "stored_events", columns=EVENT_COLUMNS, records=[_record(event) for event in events]
    )


def _record(event: EventEntry) -> tuple[object, ...]:
    return (
        event.position,
        event.stream,
        event.version,
        event.topic,
        event.state,
        event.event_id,
        event.recorded_at,
        event.caused_by,
        event.correlation,
        event.causation,
    )


async def _insert_rows(connection: Connection, rows: Sequence[RowEntry]) -> None:
    """Insert rows of one table from their lines: the database reads the JSON that it wrote itself."""
    table, *names = rows[0].target
    columns = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    await connection.execute(
        f"""
        INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
        SELECT {columns} FROM jsonb_array_elements($1::jsonb) AS line,
               jsonb_populate_record(null::{table}, line -> 'values')
        """,  # noqa: S608 - the table is one of our own, the columns are quoted
        f"[{','.join(content_of(row.json).decode() for row in rows)}]",
    )
