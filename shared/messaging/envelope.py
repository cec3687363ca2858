"""The message that travels between the services: CloudEvents 1.0, structured JSON (docs/contract.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from shared.messaging.errors import MalformedMessage

TYPE_PREFIX = "nl.landelijklenen."
CONTENT_TYPE = "application/cloudevents+json"
LARGEST_NUMBER = 2**63 - 1
"""What PostgreSQL's bigint holds."""
DEEPEST = 50
"""Levels of nested JSON. Our messages have three; programs that read JSON give up at some hundreds."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event of one subject, as the other service sees it. Nothing in it is personal.

    `type` is the short form, without TYPE_PREFIX. `subject` is the id of the stream. `stream_version` counts
    1, 2, 3 … without gaps within the stream. `position` is the event's position in the sender's log, and
    `source` names that log (`/<service>/<log-id>`).
    """

    id: UUID
    source: str
    type: str
    subject: UUID
    time: datetime
    stream_version: int
    position: int
    correlation_id: UUID
    causation_id: UUID | None
    data: dict[str, Any]
    erased: bool = False

    def to_cloudevent(self) -> dict[str, Any]:
        """Return the structured JSON form. Attributes without a value are left out (CloudEvents 1.0)."""
        cloudevent: dict[str, Any] = {
            "specversion": "1.0",
            "id": str(self.id),
            "source": self.source,
            "type": TYPE_PREFIX + self.type,
            "subject": str(self.subject),
            "time": self.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "streamversion": self.stream_version,
            "position": self.position,
            "correlationid": str(self.correlation_id),
        }
        if self.causation_id is not None:
            cloudevent["causationid"] = str(self.causation_id)
        if self.erased:
            cloudevent["erased"] = True
        cloudevent["data"] = self.data
        return cloudevent

    @classmethod
    def from_cloudevent(cls, cloudevent: object) -> "Message":
        """Read the structured JSON form; unknown attributes are ignored. Raises MalformedMessage."""
        if not isinstance(cloudevent, Mapping):
            raise MalformedMessage("not a JSON object")
        try:
            return cls._read(cloudevent)
        except KeyError as error:
            raise MalformedMessage(f"the attribute {error.args[0]} is missing") from error
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise MalformedMessage(f"{type(error).__name__}: {error}") from error

    @classmethod
    def _read(cls, cloudevent: Mapping[str, Any]) -> "Message":
        if cloudevent["specversion"] != "1.0":
            raise MalformedMessage("specversion is not 1.0")
        if not cloudevent["type"].startswith(TYPE_PREFIX):
            raise MalformedMessage("type is not one of ours")
        _check_values(cloudevent)
        causation = cloudevent.get("causationid")
        return cls(
            id=UUID(cloudevent["id"]),
            source=_text(cloudevent["source"]),
            type=cloudevent["type"].removeprefix(TYPE_PREFIX),
            subject=UUID(cloudevent["subject"]),
            time=_instant(cloudevent["time"]),
            stream_version=_counted(cloudevent["streamversion"]),
            position=_counted(cloudevent["position"]),
            correlation_id=UUID(cloudevent["correlationid"]),
            causation_id=None if causation is None else UUID(causation),
            data=_members(cloudevent.get("data", {})),
            erased=cloudevent.get("erased", False) is True,
        )

    def to_json(self) -> bytes:
        """Return the CloudEvent as UTF-8 JSON, the form on the wire."""
        return orjson.dumps(self.to_cloudevent())

    @classmethod
    def from_json(cls, body: bytes) -> "Message":
        """Read what `to_json` returned. Raises MalformedMessage."""
        try:
            return cls.from_cloudevent(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise MalformedMessage("not JSON") from error


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise MalformedMessage("an attribute that must be text is not text")
    return value


def _instant(value: str) -> datetime:
    instant = datetime.fromisoformat(value)
    if instant.tzinfo is None:
        raise MalformedMessage("time has no zone")
    return instant.astimezone(UTC)


def _counted(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_NUMBER:
        raise MalformedMessage(f"streamversion and position count from 1 to {LARGEST_NUMBER}")
    return value


def _check_values(value: object, depth: int = 1) -> None:
    """Raise MalformedMessage for what PostgreSQL cannot store and what cannot be written as JSON again."""
    if isinstance(value, str):
        if "\0" in value:
            raise MalformedMessage("it holds the character U+0000, which PostgreSQL cannot store")
        return
    if depth > DEEPEST:
        raise MalformedMessage(f"it is nested more than {DEEPEST} levels deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_values(key, depth + 1)
            _check_values(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_values(item, depth + 1)


def _members(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedMessage("data is not an object")
    return value
