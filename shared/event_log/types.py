"""What goes into the event log and what comes out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from os import urandom
from typing import NamedTuple, Protocol
from uuid import UUID

from asyncpg.pgproto import pgproto


@dataclass(frozen=True, slots=True)
class Metadata:
    """Why an event exists: who caused it, in which conversation, after which message."""

    caused_by: str
    """The `sub` of a token, or the name of the part that acted by itself ("identity", "nightly")."""
    correlation_id: UUID
    causation_id: UUID | None = None


class NewEvent(NamedTuple):
    """An event on its way into the log. Its id is minted once, and kept when it is appended again."""

    stream_id: UUID
    stream_version: int
    event_type: str
    state: bytes
    event_id: UUID
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event of the log. Positions are 1, 2, 3 … without gaps; `recorded_at` is the log's own clock."""

    position: int
    stream_id: UUID
    stream_version: int
    event_type: str
    state: bytes
    event_id: UUID
    recorded_at: datetime
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class SideRow:
    """A row that is INSERTed in the append's own transaction, or not at all.

    `values` hold str, int, bool, UUID, date, datetime, bytes, None, and dict or list for a jsonb column.
    A column that is left out gets its default. A row that is there already fails the command with
    `SideRowConflict`, unless `or_ignore` says that either row will do.
    """

    table: str
    values: Mapping[str, object]
    or_ignore: bool = False


class EventLog(Protocol):
    """The truth of one service: streams of events in one order."""

    @property
    def log_id(self) -> UUID:
        """Which log this is: differs for every database that was ever created."""

    async def append(self, events: Sequence[NewEvent], side_rows: Sequence[SideRow] = ()) -> int:
        """Write all of it or nothing; answer the position of the last event (without events: of the log).

        Raises VersionConflict, SideRowConflict, LogOverloaded, LogUnavailable.
        """

    async def stream(self, stream_id: UUID, *, after_version: int = 0) -> list[RecordedEvent]:
        """Read the events of one stream with a version beyond `after_version`, in order."""

    async def read(self, after: int, limit: int) -> list[RecordedEvent]:
        """Read at most `limit` events beyond position `after`, in order and without gaps."""

    async def erased(self, subject_ids: Collection[UUID]) -> Collection[UUID]:
        """Find those of these subjects whose personal data was destroyed (R19)."""

    async def erasures(self) -> Sequence[UUID]:
        """List all subjects that were ever erased, oldest first."""

    async def position(self) -> int:
        """Answer the position of the last event; 0 when there is none."""

    def tail(self, after: int, *, batch: int = 500) -> AsyncIterator[list[RecordedEvent]]:
        """Yield what is beyond `after` and then what comes, for ever, in lists of at most `batch`."""

    async def wait_beyond(self, position: int, timeout: float) -> bool:
        """Wait at most `timeout` seconds until there is an event beyond `position`."""


def create_id() -> UUID:
    """Mint a random UUID (version 4, RFC 9562) of the driver's kind, which all ids have that were read.

    It is made, hashed and sent at a third of what Python's own kind costs.
    """
    random = bytearray(urandom(16))
    random[6] = random[6] & 0x0F | 0x40
    random[8] = random[8] & 0x3F | 0x80
    return pgproto.UUID(bytes(random))
