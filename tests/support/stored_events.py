"""Events as they were once stored, to be read for ever: a golden file for each type and version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from eventsourcing.domain import Aggregate, CanMutateAggregate
from eventsourcing.persistence import StoredEvent

from shared.event_log import make_mapper

STREAM = UUID(int=0xE)
NOT_STORED = {"originator_id", "originator_version"}  # they have columns of their own


@dataclass(frozen=True, slots=True)
class StoredOnce:
    """One golden file: the state to the letter, and each field after reading, as Python writes it."""

    topic: str
    state: bytes
    fields: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> StoredOnce:
        """Read `<topic>.v<class_version>.json`."""
        content = orjson.loads(path.read_bytes())
        topic, _, _ = path.stem.rpartition(".v")
        return cls(topic, content["state"].encode(), content["fields"])

    def event(self) -> Any:
        """What the mapper makes of it today."""
        return make_mapper().to_domain_event(StoredEvent(STREAM, 1, self.topic, self.state))


def fields_of(event: Any) -> dict[str, str]:
    """Each stored field with its type to be seen: `datetime.date(2025, 9, 11)`."""
    return {name: repr(value) for name, value in vars(event).items() if name not in NOT_STORED}


def keep(event: Any, folder: Path) -> Path:
    """Make the golden file of a new type or version; never in the place of one that is there."""
    stored = make_mapper().to_stored_event(event)
    path = folder / f"{stored.topic}.v{_version(type(event))}.json"
    content = {"state": stored.state.decode(), "fields": fields_of(event)}
    with path.open("x", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def must_be_there(*aggregates: type[Aggregate]) -> set[str]:
    """The names of the golden files: for each event type one for every version that it ever had."""
    return {
        f"{event.TOPIC}.v{version}.json"
        for aggregate in aggregates
        for event in _event_types(aggregate.Event)
        for version in range(1, _version(event) + 1)
    }


def _version(event: type[CanMutateAggregate[UUID]]) -> int:
    version: int = getattr(event, "class_version", 1)
    return version


def _event_types(kind: type[CanMutateAggregate[UUID]]) -> Iterator[Any]:
    """All below a kind that have a topic of their own, wherever they are defined."""
    for event in kind.__subclasses__():
        if "TOPIC" in vars(event):
            yield event
        yield from _event_types(event)
