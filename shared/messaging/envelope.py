"""The message that travels between the services: CloudEvents 1.0, structured JSON (docs/contract.md)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import orjson
from pydantic import AfterValidator, BaseModel, StringConstraints, ValidationError

from shared.kernel.text import require_identifier
from shared.messaging.errors import MalformedMessage, NotReadableYet

M = TypeVar("M", bound=BaseModel)
Identifier = Annotated[str, StringConstraints(strict=True), AfterValidator(require_identifier)]
"""A code or an id in the data of a message."""

TYPE_PREFIX = "nl.landelijklenen."
CONTENT_TYPE = "application/cloudevents+json"
LARGEST_NUMBER = 2**63 - 1
"""What PostgreSQL's bigint holds."""
MOST_LEVELS = 32
"""Objects and arrays within each other. JSON libraries refuse to write what is nested too deeply."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event of one subject, as the other service sees it. Nothing in it is personal.

    `type` is the short form, without TYPE_PREFIX. `subject` is the id of the stream. `stream_version` counts
    1, 2, 3 … without gaps within the stream. `position` is the event's position in the sender's log, and
    `source` names that log (`/<service>/<log-id>`). `unreadable`: the sender cannot read its event now, so
    the data is missing; its feed has it once it can.
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
    unreadable: bool = False

    @property
    def content(self) -> bytes:
        """What the message says, apart from when it was written and under which id: 16 bytes of SHA-256.

        A service that was restored decides again what it decided before, as events with other ids.
        """
        said = orjson.dumps([self.type, self.data, self.erased], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(said).digest()[:16]

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
        if self.unreadable:
            cloudevent["unreadable"] = True
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
        _require_storable(cloudevent)
        if cloudevent["specversion"] != "1.0":
            raise MalformedMessage("specversion is not 1.0")
        if not cloudevent["type"].startswith(TYPE_PREFIX):
            raise MalformedMessage("type is not one of ours")
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
            unreadable=cloudevent.get("unreadable", False) is True,
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


def data_of(message: Message, kind: type[M]) -> M:
    """Return the data of a message as `kind` describes it. Raises MalformedMessage, NotReadableYet."""
    if message.unreadable:
        raise NotReadableYet(f"version {message.stream_version}, {message.type}")
    try:
        return kind.model_validate(message.data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in ("data", *fault["loc"]))
        raise MalformedMessage(f"{where}: {fault['msg']}") from error


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


def _require_storable(cloudevent: Mapping[str, Any]) -> None:
    """Raise MalformedMessage for what cannot be stored. Not recursive: recursion has its own limit."""
    waiting: list[tuple[object, int]] = [(dict(cloudevent), 1)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, str):
            if "\0" in value:
                raise MalformedMessage("it holds the character U+0000, which PostgreSQL cannot store")
        elif isinstance(value, dict | list):
            if level > MOST_LEVELS:
                raise MalformedMessage(f"it is nested in more than {MOST_LEVELS} levels")
            parts = (*value, *value.values()) if isinstance(value, dict) else value
            waiting += [(part, level + 1) for part in parts]


def _members(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedMessage("data is not an object")
    return value
