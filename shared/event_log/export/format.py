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
    """This file is not the export of a log, whole and unchanged."""

    def __init__(self, line: int, reason: str, advice: str = EXPORT_AGAIN) -> None:
        super().__init__(f"line {line}: {reason}: {advice}")
        self.line = line


class LogNotEmpty(Exception):
    """A log is imported only into a database that nothing has happened in."""


@dataclass(frozen=True, slots=True)
class TransferredTable:
    """A side table.

    `order` is SQL: the order of its rows, the same in every database (so text needs `COLLATE "C"`).
    `rows` is SQL for those that travel and how, when that is not simply all of them.
    `is_filled_at_first`: by a migration, so that an import takes the place of what is there.
    `numbered_by`: the column with a counter.
    """

    name: str
    order: str
    rows: str | None = None
    is_filled_at_first: bool = False
    numbered_by: str | None = None

    @property
    def read(self) -> str:
        """SQL that gives each row as JSON, in order."""
        return f"SELECT row_to_json(each)::text FROM ({self._rows}) AS each ORDER BY {self.order}"  # noqa: S608

    @property
    def count(self) -> str:
        """SQL that counts them."""
        return f"SELECT count(*) FROM ({self._rows}) AS each"  # noqa: S608 - our own constants

    @property
    def _rows(self) -> str:
        return self.rows or f"SELECT * FROM {self.name}"  # noqa: S608


# Taken over first: what is left of an erased subject among the other rows does not come back.
ERASURES = TransferredTable("erasures", "subject_id")

# The keys travel as they are: wrapped, so that only who has the master key can use them.
DATA_KEYS = TransferredTable("data_keys", "subject_id")

FORMAT = "landelijk-lenen-event-log"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Terms:
    """Whose log it is, which tables travel with it, and the keys that seal the lines (newest first)."""

    service: str
    tables: Sequence[TransferredTable]
    sealing_keys: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transferred:
    """What was exported or imported. `rows` counts those of each side table."""

    log_id: UUID
    events: int
    rows: Mapping[str, int]


class Progress(Protocol):
    """Is told how many lines there will be, and of every few that are done."""

    def expect(self, total: int) -> None:
        """So many lines in all."""

    def __call__(self, more: int) -> None:
        """So many more are done."""


def header_line(service: str, expected: Transferred, *, decrypted: bool) -> bytes:
    """Line 1: what this is, and how much of it will follow."""
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
    """One event, with its state as `stored` or `opened` gives it."""
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
    """The state as it is where JSON gives the very same bytes back, else in base64."""
    try:
        if orjson.dumps(orjson.loads(state)) == state:
            return {"state": orjson.Fragment(state)}
    except (ValueError, TypeError):  # not JSON, or too deep to be written again
        pass
    return {"state_base64": base64.b64encode(state).decode()}


def state_of(content: Mapping[str, Any]) -> bytes:
    """The bytes that `stored_state` was given."""
    if "state" in content:
        return orjson.dumps(content["state"])
    return base64.b64decode(content["state_base64"], validate=True)


def row_line(table: str, values: str) -> bytes:
    """One row of a side table; `values` is JSON as the database wrote it."""
    return _line({"kind": "row", "table": table, "values": orjson.Fragment(values)})


def footer_line(transferred: Transferred) -> bytes:
    """The last line: without it the file was cut off."""
    return _line({"kind": "footer", "events": transferred.events, "rows": transferred.rows})


def _line(content: Mapping[str, object]) -> bytes:
    return orjson.dumps(content, default=_uuid)


def _uuid(value: Any) -> str:
    if isinstance(value, UUID):  # asyncpg has a kind of its own
        return str(value)
    raise TypeError(type(value).__qualname__)


@dataclass(frozen=True, slots=True)
class EventEntry:
    """An event, on its line."""

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
        """Where it goes: the table."""
        return ("stored_events",)


@dataclass(frozen=True, slots=True)
class RowEntry:
    """A row of a side table, on its line. `target` is the table and its columns, `json` the whole line."""

    line: int
    target: tuple[str, ...]
    json: bytes


Entry = EventEntry | RowEntry


def event_entry(line: int, content: Mapping[str, Any]) -> EventEntry:
    """Read an event; KeyError, TypeError, ValueError or AttributeError when something in it is not right."""
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
    """Read a row; KeyError, TypeError or AttributeError when it is none."""
    return RowEntry(line, (content["table"], *content["values"].keys()), json)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


MEMBER = b',"seal":"'


def sealing_keys(master_key_file: Path | str) -> Sequence[bytes]:
    """Derive the keys of the seal from the service's master keys, newest first."""
    return [hmac.digest(key, b"event log file", hashlib.sha256) for key in read_key_file(master_key_file)]


class Chain:
    """The seals of one file, line after line."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._last = bytes(hashlib.sha256().digest_size)

    def seal(self, content: bytes) -> bytes:
        """Make the next line of `content`, a JSON object: the same with its seal as the last member."""
        self._last = hmac.digest(self._key, self._last + content, hashlib.sha256)
        return b"".join((content[:-1], MEMBER, self._last.hex().encode(), b'"}\n'))

    def follows(self, line: bytes) -> bool:
        """Say whether this is the next line of the file, as it was sealed."""
        return hmac.compare_digest(self.seal(content_of(line)), line)


def content_of(line: bytes) -> bytes:
    """Take the seal off a line."""
    return line.rpartition(MEMBER)[0] + b"}"
