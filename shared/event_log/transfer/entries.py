"""What the lines between header and footer hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.event_log.transfer.lines import state_of


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
