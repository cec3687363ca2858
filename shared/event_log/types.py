"""The types that go into the event log and come out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from os import urandom
from typing import NamedTuple, Protocol
from uuid import UUID

from asyncpg.pgproto import pgproto
from eventsourcing.domain import Aggregate


@dataclass(frozen=True, slots=True)
class Metadata:
    """Why an event exists: who caused it, in which request, and after which message."""

    caused_by: str
    """The `sub` of a token, or the name of the part that acted by itself ("identity", "nightly")."""
    correlation_id: UUID
    causation_id: UUID | None = None


class NewEvent(NamedTuple):
    """An event to append. Its id is created once and stays the same when the event is appended again."""

    stream_id: UUID
    stream_version: int
    event_type: str
    state: bytes
    event_id: UUID
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event as read from the log.

    Positions are 1, 2, 3 … without gaps. `recorded_at` comes from the clock of the log. `wrapped_key`: the
    wrapped data key of the stream's subject, if it has one and the event was read for use. `erased`: the
    subject's personal data was destroyed before the event was read for use (R19).
    """

    position: int
    stream_id: UUID
    stream_version: int
    event_type: str
    state: bytes
    event_id: UUID
    recorded_at: datetime
    metadata: Metadata
    wrapped_key: bytes | None = field(default=None, repr=False, compare=False)
    erased: bool = field(default=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SideRow:
    """A row that is inserted in the append's own transaction.

    `values` may be str, int, bool, UUID, date, datetime, bytes, None, and dict or list for a jsonb column. A
    column that is left out gets its default. If a row with the same unique key exists, the append fails with
    SideRowConflict; with `or_ignore` the existing row stays and the append goes on.
    """

    table: str
    values: Mapping[str, object]
    or_ignore: bool = False


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command changed: the stream of the resource, and the position of the log after the append.

    `saved`: the resource as it was saved, by a command that made it and did nothing else.
    """

    resource_id: UUID
    position: int
    saved: Aggregate | None = None


class EventLog(Protocol):
    """All events of one service, in streams and in one order."""

    @property
    def log_id(self) -> UUID:
        """The id of this log; every database that is created has its own."""

    async def append(self, events: Sequence[NewEvent], side_rows: Sequence[SideRow] = ()) -> int:
        """Write all events and side rows, or nothing; return the position of the last event.

        Without events, returns the position of the log. Raises VersionConflict, SideRowConflict,
        LogOverloaded and LogUnavailable.
        """

    async def stream(self, stream_id: UUID, *, after_version: int = 0) -> list[RecordedEvent]:
        """Return the events of one stream with a version above `after_version`, in order."""

    async def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """Return at most `limit` events after position `after`, in order and without gaps."""

    async def erasures(self) -> Sequence[UUID]:
        """Return all subjects that were ever erased, the oldest erasure first."""

    async def existing(self, stream_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the ids that are the id of a stream in this log."""
        ...

    async def position(self) -> int:
        """Return the position of the last event; 0 when there is none."""

    def tail(self, after: int, *, batch: int = 500) -> AsyncIterator[list[RecordedEvent]]:
        """Yield the events after position `after`, then new ones without end, in lists of at most `batch`."""

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """Wait at most `timeout` seconds for an event after `position`; return whether there is one."""


def create_id() -> UUID:
    """Create a random UUID (version 4, RFC 9562) of the driver's class.

    All ids that the driver reads have this class. Such an id is created, hashed and sent in a third of the
    time that Python's own `UUID` takes.
    """
    random = bytearray(urandom(16))
    random[6] = random[6] & 0x0F | 0x40
    random[8] = random[8] & 0x3F | 0x80
    return pgproto.UUID(bytes(random))
