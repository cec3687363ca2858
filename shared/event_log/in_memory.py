"""The event log without a database, for tests and experiments. It passes the same contract tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from shared.event_log.erasures import ERASURES
from shared.event_log.errors import SideRowConflict, VersionConflict
from shared.event_log.notifier import Notifier, tail
from shared.event_log.types import NewEvent, RecordedEvent, SideRow

UniqueKeys = Mapping[str, tuple[str, Sequence[str]]]
"""The unique keys of side tables: name of the constraint -> (table, columns)."""

SubjectColumns = Mapping[str, str]
"""The side tables whose rows are deleted with their subject (R19): table -> column of the subject's id."""

OWN_KEYS: UniqueKeys = {
    "data_keys_pkey": ("data_keys", ("subject_id",)),
    "erasures_pkey": (ERASURES, ("subject_id",)),
}
OWN_SUBJECTS: SubjectColumns = {"data_keys": "subject_id"}


class InMemoryEventLog:
    """An `EventLog` in a list. Its arguments describe the side tables, as the schema does in PostgreSQL."""

    def __init__(
        self, unique_keys: UniqueKeys | None = None, subject_columns: SubjectColumns | None = None
    ) -> None:
        self.log_id = uuid4()
        self._unique_keys = {**OWN_KEYS, **(unique_keys or {})}
        self._subject_columns = {**OWN_SUBJECTS, **(subject_columns or {})}
        self._events: list[RecordedEvent] = []
        self._streams: dict[UUID, list[RecordedEvent]] = {}
        self._rows: dict[str, list[Mapping[str, Any]]] = {}
        self._notifier = Notifier()

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """Return the side rows of a table: the list itself, so that a fake may remove rows."""
        return self._rows.setdefault(table, [])

    async def append(self, events: Sequence[NewEvent], side_rows: Sequence[SideRow] = ()) -> int:
        """See `EventLog.append`. It lets other tasks run first, so that concurrent commands interleave."""
        await asyncio.sleep(0)
        self._check_versions(events)
        accepted = self._accept(side_rows)
        for row in accepted:
            self._write(row)
        for event in events:
            self._record(event)
        if events:
            self._notifier.notify(len(self._events))
        return len(self._events)

    async def stream(self, stream_id: UUID, *, after_version: int = 0) -> list[RecordedEvent]:
        """See `EventLog.stream`."""
        events = self._streams.get(stream_id, [])
        return self._with_keys([event for event in events if event.stream_version > after_version])

    async def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """See `EventLog.read`."""
        return self._with_keys(self._events[max(after, 0) : max(after, 0) + limit])

    def _with_keys(self, events: Sequence[RecordedEvent]) -> list[RecordedEvent]:
        keys = {row["subject_id"]: row["wrapped"] for row in self.rows("data_keys")}
        erased = {row["subject_id"] for row in self.rows(ERASURES)}
        return [
            replace(event, wrapped_key=keys.get(event.stream_id), erased=event.stream_id in erased)
            for event in events
        ]

    async def erasures(self) -> Sequence[UUID]:
        """See `EventLog.erasures`."""
        return [row["subject_id"] for row in self.rows(ERASURES)]

    async def existing(self, stream_ids: Collection[UUID]) -> set[UUID]:
        """See `EventLog.existing`."""
        return self._streams.keys() & set(stream_ids)

    async def position(self) -> int:
        """See `EventLog.position`."""
        return len(self._events)

    def tail(self, after: int, *, batch: int = 500) -> AsyncIterator[list[RecordedEvent]]:
        """See `EventLog.tail`."""
        return tail(self, self._notifier, after, batch)

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """See `EventLog.wait_beyond`."""
        return await self._notifier.wait_beyond(position, timeout)

    def _check_versions(self, events: Sequence[NewEvent]) -> None:
        last = {stream: events[-1].stream_version for stream, events in self._streams.items()}
        for event in events:
            before = last.get(event.stream_id)
            fits = event.stream_version in (0, 1) if before is None else event.stream_version == before + 1
            if not fits:
                raise VersionConflict(event.stream_id, event.stream_version)
            last[event.stream_id] = event.stream_version

    def _accept(self, side_rows: Iterable[SideRow]) -> list[SideRow]:
        accepted: list[SideRow] = []
        for row in side_rows:
            constraint = self._violated_key(row, accepted)
            if constraint is None:
                accepted.append(row)
            elif not row.or_ignore:
                raise SideRowConflict(constraint)
        return accepted

    def _violated_key(self, row: SideRow, accepted: Sequence[SideRow]) -> str | None:
        present = [*self.rows(row.table), *(other.values for other in accepted if other.table == row.table)]
        for constraint, (table, columns) in self._unique_keys.items():
            if table == row.table:
                key = [row.values.get(column) for column in columns]
                if any([other.get(column) for column in columns] == key for other in present):
                    return constraint
        return None

    def _write(self, row: SideRow) -> None:
        """Insert a row, unless its subject was erased. An erasure deletes the other rows of its subject."""
        subject = row.values.get(self._subject_columns.get(row.table, ""))
        if any(erasure["subject_id"] == subject for erasure in self.rows(ERASURES)):
            return
        self.rows(row.table).append(dict(row.values))
        if row.table == ERASURES:
            for table, column in self._subject_columns.items():
                self.rows(table)[:] = [
                    kept for kept in self.rows(table) if kept[column] != row.values["subject_id"]
                ]

    def _record(self, event: NewEvent) -> None:
        recorded = RecordedEvent(
            position=len(self._events) + 1,
            stream_id=event.stream_id,
            stream_version=event.stream_version,
            event_type=event.event_type,
            state=event.state,
            event_id=event.event_id,
            recorded_at=datetime.now(UTC),
            metadata=event.metadata,
        )
        self._events.append(recorded)
        self._streams.setdefault(event.stream_id, []).append(recorded)
