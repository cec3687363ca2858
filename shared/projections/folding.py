"""Fold recorded events into the rows of a view, and write those rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from eventsourcing.persistence import Mapper, StoredEvent

from shared.event_log import DataKey, MasterKeys, hide, unseal
from shared.projections.view import FoldFailed, RecordedDomainEvent, Row, View

Connection = asyncpg.Connection | PoolConnectionProxy
Stream = tuple[UUID, Sequence[asyncpg.Record]]

CHUNK = 4000  # events in memory at a time, besides the rest of one stream

COLUMNS = "originator_id, originator_version, notification_id, topic, state, recorded_at, caused_by"
# In the order of the primary key the events of a stream come together, so only a chunk must be in memory,
# however long the log is.
RANGE = f"""
SELECT {COLUMNS} FROM stored_events
WHERE originator_id BETWEEN $1 AND $2 AND notification_id <= $3 AND topic = ANY ($4)
ORDER BY originator_id, originator_version
"""  # noqa: S608 - constants only
SOME = f"""
SELECT {COLUMNS} FROM stored_events
WHERE originator_id = ANY ($1) AND notification_id <= $2 AND topic = ANY ($3)
ORDER BY originator_id, originator_version
"""  # noqa: S608 - constants only
KEYS = "SELECT subject_id, wrapped FROM data_keys WHERE subject_id = ANY ($1)"


class Folder:
    """Folds streams into the rows of one view."""

    def __init__(self, view: View, mapper: Mapper[UUID], master_keys: MasterKeys) -> None:
        self.view = view
        self._mapper = mapper
        self._master_keys = master_keys
        self._topics = list(view.topics)

    async def some(
        self, connection: Connection, streams: Collection[UUID], to_position: int
    ) -> list[list[Row]]:
        """Return the rows of these streams as of a position, for each table of the view."""
        records = await connection.fetch(SOME, list(streams), to_position, self._topics)
        return await self._rows(connection, list(_streams(records)))

    async def range(
        self, connection: Connection, first: UUID, last: UUID, to_position: int
    ) -> AsyncIterator[tuple[int, list[list[Row]]]]:
        """Yield (events, rows) of all streams between two ids, chunk by chunk. Needs a transaction."""
        rest: Sequence[asyncpg.Record] = ()
        cursor = await connection.cursor(RANGE, first, last, to_position, self._topics)
        while fetched := await cursor.fetch(CHUNK):
            *whole, (_, rest) = _streams([*rest, *fetched])
            yield sum(len(records) for _, records in whole), await self._rows(connection, whole)
        if rest:
            yield len(rest), await self._rows(connection, list(_streams(rest)))

    async def _rows(self, connection: Connection, streams: Sequence[Stream]) -> list[list[Row]]:
        keys = await self._keys(connection, [stream for stream, _ in streams])
        rows: list[list[Row]] = [[] for _ in self.view.tables]
        for stream, records in streams:
            for table, more in zip(rows, self._fold(records, keys.get(stream)), strict=True):
                table.extend(more)
        return rows

    async def _keys(self, connection: Connection, streams: Sequence[UUID]) -> dict[UUID, DataKey]:
        if not self.view.decrypts:
            return {}
        found = await connection.fetch(KEYS, streams)
        return {stream: self._master_keys.unwrap(stream, wrapped) for stream, wrapped in found}

    def _fold(self, records: Sequence[asyncpg.Record], key: DataKey | None) -> Sequence[Sequence[Row]]:
        try:
            return self.view.fold([self._recorded(record, key) for record in records], key)
        except Exception as error:
            failing = self._first_that_fails(records, key)
            raise FoldFailed(
                self.view.name,
                failing["originator_id"],
                failing["notification_id"],
                failing["topic"],
                f"{type(error).__name__}: {error}",
            ) from error

    def _first_that_fails(self, records: Sequence[asyncpg.Record], key: DataKey | None) -> asyncpg.Record:
        """Return the record of the event that makes the fold fail.

        A fold receives a whole stream, so run it again with one more event each time, until it fails.
        """
        for count, record in enumerate(records, start=1):
            try:
                self.view.fold([self._recorded(known, key) for known in records[:count]], key)
            except Exception:
                return record
        return records[-1]

    def _recorded(self, record: asyncpg.Record, key: DataKey | None) -> RecordedDomainEvent:
        stream_id, version, position, event_type, state, recorded_at, caused_by = record
        event = self._mapper.to_domain_event(StoredEvent(stream_id, version, event_type, state))
        if self.view.decrypts:
            unseal(event, key)
        else:
            hide(event)
        return RecordedDomainEvent(event, position, version, recorded_at, caused_by)


def _streams(records: Iterable[asyncpg.Record]) -> Iterable[Stream]:
    return ((stream, list(events)) for stream, events in groupby(records, key=itemgetter(0)))


TOUCHED = """
SELECT DISTINCT originator_id FROM stored_events
WHERE notification_id > $1 AND notification_id <= $2 AND topic = ANY ($3)
"""
HEAD = "SELECT coalesce(max(notification_id), 0) FROM stored_events"
STEP = 1000  # events per step; the streams of these events are folded again


async def head_of(connection: Connection) -> int:
    """Return the position of the log's last event; 0 when there is none."""
    head: int = await connection.fetchval(HEAD)
    return head


async def copy_rows(connection: Connection, view: View, suffix: str, rows: Sequence[Sequence[Row]]) -> None:
    """Insert rows into the tables of a view, or into the tables with a suffix behind these names."""
    for table, of_table in zip(view.tables, rows, strict=True):
        if of_table:
            await connection.copy_records_to_table(f"{table.name}{suffix}", records=of_table)


async def catch_up(connection: Connection, folder: Folder, suffix: str, after: int, to_position: int) -> None:
    """Bring the tables from position `after` to `to_position`, in steps, in the caller's transaction."""
    while after < to_position:
        step = min(after + STEP, to_position)
        touched = await connection.fetch(TOUCHED, after, step, list(folder.view.topics))
        await reproject(connection, folder, suffix, [record[0] for record in touched], step)
        after = step


async def reproject(
    connection: Connection, folder: Folder, suffix: str, streams: Sequence[UUID], to_position: int
) -> None:
    """Replace the rows of these streams by their rows as of a position."""
    if not streams:
        return
    rows = await folder.some(connection, streams, to_position)
    for table in folder.view.tables:
        await connection.execute(
            f"DELETE FROM {table.name}{suffix} WHERE stream_id = ANY ($1)",  # noqa: S608 - our own name
            streams,
        )
    await copy_rows(connection, folder.view, suffix, rows)
