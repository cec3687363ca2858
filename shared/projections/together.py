"""Fold the latest events into several views at once: read, decoded and decrypted once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

import asyncpg
from eventsourcing.persistence import Mapper, StoredEvent

from shared.event_log import DataKey, MasterKeys, hide, is_sealed, unseal
from shared.kernel.text import summary
from shared.projections.folding import COLUMNS, Connection
from shared.projections.view import CURRENT_VERSION, FoldFailed, RecordedDomainEvent, Row, View, ViewTable

# All events of the streams that changed, of whatever types, each stream with its key. The streams are an
# array so that PostgreSQL goes through the index, whatever it believes of the size of the log.
CHANGED = f"""
SELECT {COLUMNS}, CASE WHEN originator_version <= 1 THEN (
    SELECT wrapped FROM data_keys WHERE subject_id = originator_id
) END AS wrapped
FROM stored_events
WHERE notification_id <= $2 AND originator_id = ANY (ARRAY(
    SELECT DISTINCT originator_id FROM stored_events WHERE notification_id > $1 AND notification_id <= $2
)) ORDER BY originator_id, originator_version
"""  # noqa: S608 - constants only

Rows = dict[str, list[Row]]
"""The rows of each table, by its name."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream: its records, and its events as views see them that decrypt and that do not."""

    records: Sequence[asyncpg.Record]
    key: DataKey | None
    opened: Sequence[RecordedDomainEvent]
    hidden: Sequence[RecordedDomainEvent]


class Together:
    """Folds events for the live views of a service."""

    def __init__(self, mapper: Mapper[UUID], master_keys: MasterKeys) -> None:
        self._mapper = mapper
        self._master_keys = master_keys

    async def catch_up(
        self, connection: Connection, views: Sequence[View], after: int, to_position: int
    ) -> None:
        """Bring the tables of these views up to `to_position`, in the caller's transaction.

        All of them have the events up to `after`; some may have more, whose streams are folded again. Raises
        what any of the views fails with. `LiveView` finds which one that was, and at which event.
        """
        rows: Rows = {}
        changed: list[UUID] = []
        records = await connection.fetch(CHANGED, after, to_position)
        for stream_id, of_stream in groupby(records, key=itemgetter(0)):
            changed.append(stream_id)
            self._fold(list(of_stream), views, after, rows)
        tables = [table for view in views for table in view.tables]
        names, versions = [view.name for view in views], [view.version for view in views]
        await connection.execute(_moved(tables), changed, names, to_position, versions)
        if rows:
            for table in tables:
                if of_table := rows.get(table.name):
                    await connection.copy_records_to_table(
                        table.name, records=of_table, columns=table.column_names
                    )

    def _fold(
        self, records: Sequence[asyncpg.Record], views: Collection[View], after: int, rows: Rows
    ) -> None:
        concerned = [view for view in views if records[0]["topic"] in view.topics]
        if not concerned:
            return
        stream = self._decoded(records, open_too=any(view.decrypts for view in concerned))
        for view in concerned:
            _require_known(view, records, after)
            events = stream.opened if view.decrypts else stream.hidden
            folded = view.fold(events, stream.key if view.decrypts else None)
            for table, values in zip(view.tables, folded, strict=True):
                rows.setdefault(table.name, []).extend(values)

    def _decoded(self, records: Sequence[asyncpg.Record], *, open_too: bool) -> Stream:
        wrapped = records[0]["wrapped"]
        key = self._master_keys.unwrap(records[0]["originator_id"], wrapped) if wrapped and open_too else None
        hidden, opened = [], []
        for stream_id, version, position, event_type, state, recorded_at, caused_by, _ in records:
            event: Any = self._mapper.to_domain_event(StoredEvent(stream_id, version, event_type, state))
            if open_too:
                opened.append(
                    RecordedDomainEvent(_opened(event, key), position, version, recorded_at, caused_by)
                )
            hide(event)
            hidden.append(RecordedDomainEvent(event, position, version, recorded_at, caused_by))
        return Stream(records, key, opened, hidden)


def _opened(event: Any, key: DataKey | None) -> Any:
    """Return the event with its sealed fields opened; a copy, unless it has none."""
    if not is_sealed(event):
        return event
    copy = object.__new__(type(event))
    object.__setattr__(copy, "__dict__", dict(vars(event)))
    unseal(copy, key)
    return copy


def _require_known(view: View, records: Sequence[asyncpg.Record], after: int) -> None:
    """Raise FoldFailed for a new event of a type that this release does not know: rows would be wrong."""
    for record in records:
        if record["notification_id"] > after and record["topic"] not in view.topics:
            raise FoldFailed(
                view.name,
                record["originator_id"],
                record["notification_id"],
                summary(record["topic"]),
                "this release does not know the event",
            )


# Rows of an older fold came in (an older release runs beside this one), so the view is as old as they are.
MOVE = f"""
UPDATE projections SET position = $3, version = least({CURRENT_VERSION}, moved.version),
    moved_at = statement_timestamp(), version_at = statement_timestamp()
  FROM unnest($2::text[], $4::int[]) AS moved (name, version)
 WHERE projections.name = moved.name
"""  # noqa: S608 - constants only


def _moved(tables: Sequence[ViewTable]) -> str:
    """Return the statement that moves views ($2, $4) to a position ($3).

    It deletes the rows of the streams that changed ($1) from all their tables.
    """
    deletions = (
        f"d{number} AS (DELETE FROM {table.name} WHERE stream_id = ANY ($1))"  # noqa: S608 - our own names
        for number, table in enumerate(tables)
    )
    return f"WITH {', '.join(deletions)} {MOVE}"
