"""Taking over a log from a file: all of it in one transaction, or nothing; batch after batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import IO, cast
from uuid import UUID

import asyncpg

from shared.event_log.connection import Connection, is_transient
from shared.event_log.transfer.chain import content_of
from shared.event_log.transfer.entries import Entry, EventEntry, RowEntry
from shared.event_log.transfer.errors import FileRefused, LogNotEmpty
from shared.event_log.transfer.file import LogFile
from shared.event_log.transfer.tables import TransferredTable
from shared.event_log.transfer.terms import Progress, Terms, Transferred

BATCH = 1000
# The lock of every append: nothing can get into the log before the import has ended, one way or the other.
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
# The last version of each stream is one step back along the key, however many there are.
LAST_VERSIONS = """
SELECT stream, coalesce((SELECT originator_version FROM stored_events WHERE originator_id = stream
                          ORDER BY originator_version DESC LIMIT 1), -1) AS version
  FROM unnest($1::uuid[]) AS stream
"""


async def import_log(
    connection: Connection, terms: Terms, file: IO[bytes], progress: Progress
) -> Transferred:
    """Take over a file. Raises LogNotEmpty and FileRefused; then nothing was written."""
    reading = LogFile(file, terms)
    async with connection.transaction():
        await connection.execute(LOCK)
        await _make_room(connection, terms.tables)
        header = reading.header()
        progress.expect(header.events + header.rows)
        for batch in _batches(reading.entries()):
            await _take_over(connection, batch)
            progress(len(batch))
        await connection.execute(TAKE_OVER_ID, header.log_id)
        await _settle(connection, terms.tables)
    return reading.done()


async def _make_room(connection: Connection, tables: Sequence[TransferredTable]) -> None:
    must_be_empty = [table.name for table in tables if not table.is_filled_at_first]
    for name in ("stored_events", *must_be_empty):
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})"):  # noqa: S608 - our constants
            raise LogNotEmpty(name)
    for table in tables:
        if table.is_filled_at_first:
            await connection.execute(f"DELETE FROM {table.name}")  # noqa: S608
        # What a trigger would put into a row stands in the file already.
        await connection.execute(f"ALTER TABLE {table.name} DISABLE TRIGGER USER")


async def _settle(connection: Connection, tables: Sequence[TransferredTable]) -> None:
    for table in tables:
        await connection.execute(f"ALTER TABLE {table.name} ENABLE TRIGGER USER")
        if table.numbered_by:
            last = f"SELECT max({table.numbered_by}) FROM {table.name}"  # noqa: S608
            sequence = f"pg_get_serial_sequence('{table.name}', '{table.numbered_by}')"
            await connection.execute(f"SELECT setval({sequence}, ({last}))")


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Gather neighbours that go into the same table and columns."""
    batch: list[Entry] = []
    for entry in entries:
        if batch and (len(batch) == BATCH or entry.target != batch[0].target):
            yield batch
            batch = []
        batch.append(entry)
    if batch:
        yield batch


async def _take_over(connection: Connection, batch: Sequence[Entry]) -> None:
    try:
        if isinstance(batch[0], EventEntry):
            await _copy_events(connection, cast("Sequence[EventEntry]", batch))
        else:
            await _insert_rows(connection, cast("Sequence[RowEntry]", batch))
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if is_transient(error):
            raise
        until = "" if len(batch) == 1 else f", or a line up to {batch[-1].line}"
        reason = f"the database does not take it{until} ({type(error).__name__})"
        raise FileRefused(batch[0].line, reason) from error


async def _copy_events(connection: Connection, events: Sequence[EventEntry]) -> None:
    streams = {event.stream for event in events}
    found = await connection.fetch(LAST_VERSIONS, list(streams))
    last: dict[UUID, int] = {row["stream"]: row["version"] for row in found}
    for event in events:
        before, version = last[event.stream], event.version
        # A stream begins with version 1, or with 0; after that each follows the one before it.
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
    """Write rows of one table, from their lines: the database reads the JSON that it wrote itself."""
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
