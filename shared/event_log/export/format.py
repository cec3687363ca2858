"""The file format of an exported log: JSON Lines, each line sealed in a chain (ADR 0010)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import orjson

from shared.platform.secrets import read_key_file

EXPORT_AGAIN = "export the log again"


class FileRefused(Exception):
    """This file is not a complete and unchanged export of an event log."""

    def __init__(self, line: int, reason: str, advice: str = EXPORT_AGAIN) -> None:
        super().__init__(f"line {line}: {reason}: {advice}")
        self.line = line


class LogNotEmpty(Exception):
    """A log can be imported only into an empty database."""


@dataclass(frozen=True, slots=True)
class TransferredTable:
    """A side table that is exported and imported.

    `order`: SQL, the order of its rows, which must be the same in every database (text: `COLLATE "C"`).
    `rows`: a query for the rows to export; None means all rows of the table.
    `is_filled_at_first`: a migration fills the table, so an import replaces its rows.
    `numbered_by`: the column that a sequence numbers.
    """

    name: str
    order: str
    rows: str | None = None
    is_filled_at_first: bool = False
    numbered_by: str | None = None

    @property
    def read(self) -> str:
        """SQL that selects each row as JSON, in order."""
        return f"SELECT row_to_json(side)::text FROM ({self._rows}) AS side ORDER BY {self.order}"  # noqa: S608

    @property
    def count(self) -> str:
        """SQL that counts the rows."""
        return f"SELECT count(*) FROM ({self._rows}) AS side"  # noqa: S608 - our own constants

    @property
    def _rows(self) -> str:
        return self.rows or f"SELECT * FROM {self.name}"  # noqa: S608


# The first side table of every file.
ERASURES = TransferredTable("erasures", "subject_id")

# The keys are exported as they are stored: wrapped, so they are of no use without the master key.
DATA_KEYS = TransferredTable("data_keys", "subject_id")

FORMAT = "landelijk-lenen-event-log"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Terms:
    """The service whose log it is, its side tables, and the keys that seal the lines (newest first)."""

    service: str
    tables: Sequence[TransferredTable]
    sealing_keys: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transferred:
    """What was exported or imported. `rows`: the number of rows of each side table."""

    log_id: UUID
    events: int
    rows: Mapping[str, int]


class Progress(Protocol):
    """Shows how far an export or import is."""

    def expect(self, total: int) -> None:
        """Set the total number of lines."""

    def __call__(self, more: int) -> None:
        """Add to the number of lines that are done."""


def header_line(service: str, expected: Transferred, *, decrypted: bool) -> bytes:
    """Return line 1: what the file is, and how much follows."""
    return _line(
        {
            "kind": "header",
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "service": service,
            "log_id": expected.log_id,
            "position": expected.events,
            "rows": sum(expected.rows.values()),
            "decrypted": decrypted,
        }
    )


def event_line(row: asyncpg.Record, state: Mapping[str, object]) -> bytes:
    """Return the line of an event, with its state from `stored_state` or `Decrypter.opened`."""
    return _line(
        {
            "kind": "event",
            "position": row["notification_id"],
            "stream": row["originator_id"],
            "version": row["originator_version"],
            "topic": row["topic"],
            "event_id": row["event_id"],
            "recorded_at": row["recorded_at"],
            "caused_by": row["caused_by"],
            "correlation": row["correlation_id"],
            "causation": row["causation_id"],
            **state,
        }
    )


def stored_state(state: bytes) -> Mapping[str, object]:
    """Return the state as JSON when JSON reproduces exactly the same bytes, otherwise as base64."""
    try:
        if orjson.dumps(orjson.loads(state)) == state:
            return {"state": orjson.Fragment(state)}
    except (ValueError, TypeError):  # not JSON, or nested too deeply to be written again
        pass
    return {"state_base64": base64.b64encode(state).decode()}


def state_of(content: Mapping[str, Any]) -> bytes:
    """Return the bytes that `stored_state` was given."""
    if "state" in content:
        return orjson.dumps(content["state"])
    return base64.b64decode(content["state_base64"], validate=True)


def row_line(table: str, values: str) -> bytes:
    """Return the line of a row of a side table; `values` is JSON as the database wrote it."""
    return _line({"kind": "row", "table": table, "values": orjson.Fragment(values)})


def footer_line(transferred: Transferred) -> bytes:
    """Return the last line. A file without it was cut off."""
    return _line({"kind": "footer", "events": transferred.events, "rows": transferred.rows})


def _line(content: Mapping[str, object]) -> bytes:
    return orjson.dumps(content, default=_uuid)


def _uuid(value: Any) -> str:
    if isinstance(value, UUID):  # asyncpg has its own class of UUID
        return str(value)
    raise TypeError(type(value).__qualname__)


@dataclass(frozen=True, slots=True)
class EventEntry:
    """An event in the file; `line` is the number of its line."""

    line: int
    position: int
    stream: UUID
    version: int
    topic: str
    state: bytes
    event_id: UUID
    recorded_at: datetime
    caused_by: str
    correlation: UUID
    causation: UUID | None

    @property
    def target(self) -> tuple[str, ...]:
        """The table of the event."""
        return ("stored_events",)


@dataclass(frozen=True, slots=True)
class RowEntry:
    """A row of a side table in the file. `target`: the table and its columns; `json`: the whole line."""

    line: int
    target: tuple[str, ...]
    json: bytes


Entry = EventEntry | RowEntry


def event_entry(line: int, content: Mapping[str, Any]) -> EventEntry:
    """Return the event on a line. Raises KeyError, TypeError, ValueError or AttributeError if it is wrong."""
    causation = content["causation"]
    return EventEntry(
        line=line,
        position=int(content["position"]),
        stream=UUID(content["stream"]),
        version=int(content["version"]),
        topic=_text(content["topic"]),
        state=state_of(content),
        event_id=UUID(content["event_id"]),
        recorded_at=datetime.fromisoformat(content["recorded_at"]),
        caused_by=_text(content["caused_by"]),
        correlation=UUID(content["correlation"]),
        causation=None if causation is None else UUID(causation),
    )


def row_entry(line: int, content: Mapping[str, Any], json: bytes) -> RowEntry:
    """Return the row on a line. Raises KeyError, TypeError or AttributeError if it is wrong."""
    return RowEntry(line, (content["table"], *content["values"].keys()), json)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


MEMBER = b',"seal":"'


def sealing_keys(master_key_file: Path | str) -> Sequence[bytes]:
    """Return the keys of the seal, derived from the service's master keys, newest first."""
    return [hmac.digest(key, b"event log file", hashlib.sha256) for key in read_key_file(master_key_file)]


class Chain:
    """The chained seal of one file. Each line is sealed together with the seal of the line before it."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._last = bytes(hashlib.sha256().digest_size)

    def seal(self, content: bytes) -> bytes:
        """Return the next line: `content`, a JSON object, with its seal as the last member."""
        self._last = hmac.digest(self._key, self._last + content, hashlib.sha256)
        return b"".join((content[:-1], MEMBER, self._last.hex().encode(), b'"}\n'))

    def follows(self, line: bytes) -> bool:
        """Return whether this is the next line of the file, unchanged. The chain goes on after it."""
        return hmac.compare_digest(self.seal(content_of(line)), line)


def content_of(line: bytes) -> bytes:
    """Return the content of a line, without its seal."""
    return line.rpartition(MEMBER)[0] + b"}"
