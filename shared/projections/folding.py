"""Fold recorded events into the rows of a view, and write those rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from uuid import UUID

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from eventsourcing.persistence import Mapper, StoredEvent

from shared.event_log import DataKey, MasterKeys, hide, unseal
from shared.kernel.text import summary
from shared.platform.postgres import is_transient
from shared.projections.view import FoldFailed, RecordedDomainEvent, Row, View, ViewFailed

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


REFUSED = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,  # a value that is too long for an index
)
"""PostgreSQL's errors about a value. Its other errors are about the table, the role or the server."""


def refuses_a_value(error: Exception) -> bool:
    """Return whether PostgreSQL refused a value, or the driver could not encode one."""
    if isinstance(error, asyncpg.PostgresError):
        return isinstance(error, REFUSED)
    return not is_transient(error)


@dataclass(frozen=True, slots=True)
class Folded:
    """Streams, each with its events, and their rows for each table of the view."""

    streams: Sequence[Stream]
    rows: Sequence[Sequence[Row]]

    @property
    def events(self) -> int:
        """Count the events."""
        return sum(len(records) for _, records in self.streams)


class Folder:
    """Folds streams into the rows of one view."""

    def __init__(self, view: View, mapper: Mapper[UUID], master_keys: MasterKeys) -> None:
        self.view = view
        self._mapper = mapper
        self._master_keys = master_keys
        self._topics = list(view.topics)

    async def some(self, connection: Connection, streams: Collection[UUID], to_position: int) -> Folded:
        """Fold these streams as of a position. Raises FoldFailed."""
        records = await connection.fetch(SOME, list(streams), to_position, self._topics)
        return await self._folded(connection, list(_streams(records)))

    async def range(
        self, connection: Connection, first: UUID, last: UUID, to_position: int
    ) -> AsyncIterator[Folded]:
        """Fold all streams between two ids, chunk by chunk. Needs a transaction. Raises FoldFailed."""
        rest: Sequence[asyncpg.Record] = ()
        cursor = await connection.cursor(RANGE, first, last, to_position, self._topics)
        while fetched := await cursor.fetch(CHUNK):
            *whole, (_, rest) = _streams([*rest, *fetched])
            yield await self._folded(connection, whole)
        if rest:
            yield await self._folded(connection, list(_streams(rest)))

    async def insert(self, connection: Connection, suffix: str, folded: Folded) -> None:
        """Insert rows into the tables of the view with this suffix, in the caller's transaction.

        PostgreSQL may refuse a value that an event led to, such as U+0000 in a text. Then FoldFailed names
        the event.
        """
        try:
            async with connection.transaction():  # a savepoint: the caller's transaction can go on
                await self._copy(connection, suffix, folded)
        except Exception as error:
            if not refuses_a_value(error):
                raise
            for stream, records in folded.streams:
                await self._require_storable(connection, suffix, stream, records)
            raise ViewFailed(self.view.name, type(error).__name__) from error

    async def _require_storable(
        self, connection: Connection, suffix: str, stream: UUID, records: Sequence[asyncpg.Record]
    ) -> None:
        """Raise FoldFailed for the first event after which PostgreSQL refuses the rows of this stream."""
        for count, record in enumerate(records, start=1):
            folded = await self._folded(connection, [(stream, records[:count])])
            trial = connection.transaction()
            await trial.start()
            try:
                await self._copy(connection, suffix, folded)
            except Exception as error:
                # Not its text: it holds the value.
                raise self._failed(record, f"PostgreSQL refuses a value: {type(error).__name__}") from error
            finally:
                await trial.rollback()

    async def _copy(self, connection: Connection, suffix: str, folded: Folded) -> None:
        for table, rows in zip(self.view.tables, folded.rows, strict=True):
            if rows:
                await connection.copy_records_to_table(
                    f"{table.name}{suffix}", records=rows, columns=table.column_names
                )

    async def _folded(self, connection: Connection, streams: Sequence[Stream]) -> Folded:
        keys = await self._wrapped_keys(connection, [stream for stream, _ in streams])
        rows: list[list[Row]] = [[] for _ in self.view.tables]
        for stream, records in streams:
            for table, more in zip(rows, self._fold(records, keys.get(stream)), strict=True):
                table.extend(more)
        return Folded(streams, rows)

    async def _wrapped_keys(self, connection: Connection, streams: Sequence[UUID]) -> dict[UUID, bytes]:
        if not self.view.decrypts:
            return {}
        return {stream: wrapped for stream, wrapped in await connection.fetch(KEYS, streams)}  # noqa: C416

    def _fold(self, records: Sequence[asyncpg.Record], wrapped: bytes | None) -> Sequence[Sequence[Row]]:
        try:
            key = None if wrapped is None else self._master_keys.unwrap(records[0]["originator_id"], wrapped)
        except Exception as error:
            raise self._failed(records[-1], f"{type(error).__name__}: {error}") from error
        try:
            return self.view.fold([self._recorded(record, key) for record in records], key)
        except Exception as error:
            # With a data key, the text of an error may hold personal data.
            reason = type(error).__name__ if key else f"{type(error).__name__}: {error}"
            raise self._failed(self._first_that_fails(records, key), reason) from error

    def _failed(self, record: asyncpg.Record, reason: str) -> FoldFailed:
        event = record["originator_id"], record["notification_id"], summary(record["topic"])
        return FoldFailed(self.view.name, *event, summary(reason))

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
# A stream is one of the view when its first event is. Its other events all have topics of the view, unless
# another release wrote them.
UNKNOWN = """
SELECT originator_id, notification_id, topic FROM stored_events AS unknown
WHERE notification_id > $1 AND notification_id <= $2 AND topic <> ALL ($3) AND EXISTS (
    SELECT FROM stored_events AS first
    WHERE first.originator_id = unknown.originator_id AND originator_version = 1 AND first.topic = ANY ($3)
) ORDER BY notification_id LIMIT 1
"""
STEP = 1000  # events per step; the streams of these events are folded again


async def head_of(connection: Connection) -> int:
    """Return the position of the log's last event; 0 when there is none."""
    head: int = await connection.fetchval(HEAD)
    return head


async def require_known(connection: Connection, view: View, after: int, to_position: int) -> None:
    """Raise FoldFailed when a stream of the view has an event of a type that this release does not know.

    Without that event the rows of the stream would be wrong.
    """
    if found := await connection.fetchrow(UNKNOWN, after, to_position, list(view.topics)):
        stream, position, topic = found
        raise FoldFailed(view.name, stream, position, summary(topic), "this release does not know the event")


async def catch_up(connection: Connection, folder: Folder, suffix: str, after: int, to_position: int) -> None:
    """Bring the tables from position `after` to `to_position`, in steps, in the caller's transaction."""
    await require_known(connection, folder.view, after, to_position)
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
    folded = await folder.some(connection, streams, to_position)
    for table in folder.view.tables:
        await connection.execute(
            f"DELETE FROM {table.name}{suffix} WHERE stream_id = ANY ($1)",  # noqa: S608 - our own name
            streams,
        )
    await folder.insert(connection, suffix, folded)
