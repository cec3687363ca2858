"""Load and save aggregates as events, and events as readable JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import orjson
import structlog
from eventsourcing.domain import Aggregate, DomainEventProtocol
from eventsourcing.persistence import (
    DatetimeAsISO,
    DecimalAsStr,
    Mapper,
    StoredEvent,
    Transcoder,
    Transcoding,
    TranscodingNotRegisteredError,
    UUIDAsHex,
)

from shared.event_log.errors import (
    AggregateNotFound,
    LogOverloaded,
    RecordUnreadable,
    UnreadableEvent,
    VersionConflict,
)
from shared.event_log.sealed_fields import data_key_of, is_sealed, sealed, set_data_key, unseal
from shared.event_log.types import EventLog, Metadata, NewEvent, RecordedEvent, SideRow, create_id
from shared.kernel.text import summary

log = structlog.get_logger(__name__)

if TYPE_CHECKING:
    from shared.event_log.encryption import DataKey

ATOMS = frozenset({str, int, bool, float, type(None)})


class DateAsISO(Transcoding):
    """A day as text, such as `2025-09-11`."""

    type = date
    name = "date_iso"

    def encode(self, obj: date) -> str:
        """Return the text of a day."""
        return obj.isoformat()

    def decode(self, data: str) -> date:
        """Return the day of a text."""
        return date.fromisoformat(data)


class BytesAsBase64(Transcoding):
    """Bytes, mostly encrypted personal data, as base64."""

    type = bytes
    name = "bytes_base64"

    def encode(self, obj: bytes) -> str:
        """Return the base64 text of bytes."""
        return binascii.b2a_base64(obj, newline=False).decode("ascii")

    def decode(self, data: str) -> bytes:
        """Return the bytes of a base64 text."""
        return base64.b64decode(data)


class ReadableTranscoder(Transcoder):
    """JSON with type names. Tuples become lists; an unknown type is refused."""

    def __init__(self, *transcodings: Transcoding) -> None:
        self._by_type: dict[type, Transcoding] = {known.type: known for known in transcodings}
        self._by_name: dict[str, Transcoding] = {known.name: known for known in transcodings}
        self._tags = {known.type: _tag_of(known) for known in transcodings} | {list: _of_atoms}

    def encode(self, obj: Any) -> bytes:
        """Return `obj` as JSON in UTF-8. Raises TranscodingNotRegisteredError for an unknown type."""
        return orjson.dumps(self._flat(obj) or self._tagged(obj))

    def _flat(self, obj: Any) -> dict[str, Any] | None:
        """Return a flat dict ready for JSON; None when a value is nested or of a derived type.

        Most events are flat, and this is their fast path.
        """
        if type(obj) is not dict:
            return None
        tags = self._tags
        try:
            return {
                key: value if (kind := type(value)) in ATOMS else tags[kind](value)
                for key, value in obj.items()
            }
        except KeyError:
            return None

    def decode(self, data: bytes) -> Any:
        """Return the value that was encoded. Raises TranscodingNotRegisteredError for an unknown name."""
        return self._untagged(orjson.loads(data))

    def _tagged(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS:
            return value
        if kind is dict:
            return {key: item if type(item) in ATOMS else self._tagged(item) for key, item in value.items()}
        if kind is list or kind is tuple:
            return [self._tagged(item) for item in value]
        transcoding = self._by_type.get(kind) or self._inherited(kind)
        if transcoding is not None:
            return {"_type_": transcoding.name, "_data_": self._tagged(transcoding.encode(value))}
        if isinstance(value, str | int):
            return value  # a member of an enumeration: orjson writes its value
        msg = f"{kind.__qualname__} has no transcoding; known are {sorted(self._by_name)}"
        raise TranscodingNotRegisteredError(msg)

    def _inherited(self, kind: type) -> Transcoding | None:
        """Return the transcoding of a base class, if any: asyncpg's own UUID class is derived from UUID."""
        return next((known for base in kind.__mro__ if (known := self._by_type.get(base))), None)

    def _untagged(self, value: Any) -> Any:
        if type(value) is dict:
            if len(value) == 2 and "_type_" in value and "_data_" in value:
                return self._transcoding(value["_type_"]).decode(self._untagged(value["_data_"]))
            return {key: item if type(item) in ATOMS else self._untagged(item) for key, item in value.items()}
        if type(value) is list:
            return [self._untagged(item) for item in value]
        return value

    def _transcoding(self, name: str) -> Transcoding:
        try:
            return self._by_name[name]
        except KeyError:
            msg = f"there is no transcoding {name!r}; known are {sorted(self._by_name)}"
            raise TranscodingNotRegisteredError(msg) from None


def _of_atoms(values: list[Any]) -> list[Any]:
    """Return a list unchanged when JSON has types for all its items. Raises KeyError otherwise."""
    if ATOMS.issuperset(map(type, values)):
        return values
    raise KeyError


def _tag_of(transcoding: Transcoding) -> Callable[[Any], dict[str, Any]]:
    """Return a function that puts the type's name beside a value.

    Days and moments are not encoded here: orjson writes them as ISO 8601.
    """
    name, encode = transcoding.name, transcoding.encode
    if transcoding.type in {date, datetime}:
        return lambda value: {"_type_": name, "_data_": value}
    return lambda value: {"_type_": name, "_data_": encode(value)}


def make_transcoder() -> ReadableTranscoder:
    """Return the transcoder of everything that is stored: events, and the encrypted data in them."""
    return ReadableTranscoder(UUIDAsHex(), DatetimeAsISO(), DateAsISO(), DecimalAsStr(), BytesAsBase64())


def make_mapper() -> Mapper[UUID]:
    """Return the library's mapper (topics, upcasting of earlier versions) with our transcoder."""
    return Mapper(make_transcoder())


UnwrapKey = Callable[[UUID, bytes], "DataKey"]
"""Returns the data key of a subject, from its id and the wrapped key."""

A = TypeVar("A", bound=Aggregate)
T = TypeVar("T")
MOST_ATTEMPTS = 20
"""Each conflict means that another command of the same stream was committed, so the service makes progress.

Twenty clerks, logins and messages never work on one guest at the same moment. After that many conflicts the
caller gets "too busy".
"""


async def retry_on_conflict(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run `attempt`, which loads, decides and saves; run it again when another command was committed first.

    Returns what `attempt` returns. Raises LogOverloaded after MOST_ATTEMPTS conflicts.
    """
    for _ in range(MOST_ATTEMPTS):
        with suppress(VersionConflict):
            return await attempt()
    raise LogOverloaded(f"gave up after {MOST_ATTEMPTS} version conflicts")


class AggregateStore:
    """Loads aggregates from an event log and saves them in it."""

    def __init__(self, log: EventLog, mapper: Mapper[UUID], unwrap: UnwrapKey) -> None:
        self.log = log
        self._mapper = mapper
        self._unwrap = unwrap

    async def load(self, kind: type[A], id: UUID) -> A:  # noqa: A002
        """Return an aggregate, made from its events. Raises AggregateNotFound, UnreadableEvent."""
        aggregate = await self.find(kind, id)
        if aggregate is None:
            raise AggregateNotFound(kind, id)
        return aggregate

    async def find(self, kind: type[A], id: UUID) -> A | None:  # noqa: A002
        """Return an aggregate, made from its events; None when there is none of that kind.

        Raises UnreadableEvent.
        """
        aggregate: Any = None
        key: DataKey | None = None
        for recorded in await self.log.stream(id):
            try:
                key = key or self._key(recorded)
                event: Any = self._sealed_event(recorded)
                unseal(event, key)
                aggregate = event.mutate(aggregate)
            except Exception as error:
                raise _unreadable(recorded, error) from error
        if not isinstance(aggregate, kind):
            return None
        if key is not None:
            set_data_key(aggregate, key)
        return aggregate

    async def save(
        self, *aggregates: Aggregate, metadata: Metadata, side_rows: Sequence[SideRow] = ()
    ) -> int:
        """Append the new events of all aggregates, all or nothing; return the position of the last event.

        Raises NoDataKey for an event with sealed fields whose aggregate has no data key. After an error the
        aggregates cannot be used again: load new ones.
        """
        events = [
            self._new_event(sealed(event, data_key_of(aggregate)), metadata)
            for aggregate in aggregates
            for event in aggregate.collect_events()
        ]
        return await self.log.append(events, side_rows)

    def event(self, recorded: RecordedEvent) -> DomainEventProtocol[UUID]:
        """Return the domain event of a recorded event, upcast to the newest version of its type.

        Raises UnreadableEvent.
        """
        try:
            event = self._sealed_event(recorded)
            if is_sealed(event):
                unseal(event, self._key(recorded))
        except Exception as error:
            raise _unreadable(recorded, error) from error
        return event

    def _sealed_event(self, recorded: RecordedEvent) -> DomainEventProtocol[UUID]:
        return self._mapper.to_domain_event(
            StoredEvent(recorded.stream_id, recorded.stream_version, recorded.event_type, recorded.state)
        )

    def _key(self, recorded: RecordedEvent) -> DataKey | None:
        wrapped = recorded.wrapped_key
        return None if wrapped is None else self._unwrap(recorded.stream_id, wrapped)

    def _new_event(self, event: DomainEventProtocol[UUID], metadata: Metadata) -> NewEvent:
        stored = self._mapper.to_stored_event(event)
        return NewEvent(
            stream_id=event.originator_id,
            stream_version=stored.originator_version,
            event_type=stored.topic,
            state=stored.state,
            event_id=create_id(),
            metadata=metadata,
        )


def _unreadable(recorded: RecordedEvent, error: Exception) -> UnreadableEvent:
    """Return the error for any failure to read an event: of another release, damaged, or with a wrong key."""
    reason = type(error).__name__
    if isinstance(error, RecordUnreadable):  # only these are known to hold nothing of the event
        reason = summary(f"{reason}: {error}")
    event_type = summary(recorded.event_type)
    unreadable = UnreadableEvent(recorded.position, recorded.stream_id, event_type, reason)
    log.error("event.unreadable", reason=str(unreadable))
    return unreadable
