"""Domain events to bytes and back: readable JSON, with a type's name beside what JSON has no type for.

The form is the one of the `eventsourcing` library's own JSON transcoder, written by orjson.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from uuid import UUID

import orjson
from eventsourcing.persistence import (
    DatetimeAsISO,
    DecimalAsStr,
    Mapper,
    Transcoder,
    Transcoding,
    TranscodingNotRegisteredError,
    UUIDAsHex,
)

ATOMS = frozenset({str, int, bool, float, type(None)})


class DateAsISO(Transcoding):
    """A day, as `2025-09-11`."""

    type = date
    name = "date_iso"

    def encode(self, obj: date) -> str:
        """Write the day."""
        return obj.isoformat()

    def decode(self, data: str) -> date:
        """Read the day."""
        return date.fromisoformat(data)


class BytesAsBase64(Transcoding):
    """Bytes, mostly sealed personal data, in base64."""

    type = bytes
    name = "bytes_base64"

    def encode(self, obj: bytes) -> str:
        """Write the bytes."""
        return binascii.b2a_base64(obj, newline=False).decode("ascii")

    def decode(self, data: str) -> bytes:
        """Read the bytes."""
        return base64.b64decode(data)


class ReadableTranscoder(Transcoder):
    """JSON with type names. Tuples become lists; an unknown type is refused, not guessed."""

    def __init__(self, *transcodings: Transcoding) -> None:
        self._by_type: dict[type, Transcoding] = {each.type: each for each in transcodings}
        self._by_name: dict[str, Transcoding] = {each.name: each for each in transcodings}
        self._tags = {each.type: _tag_of(each) for each in transcodings} | {list: _of_atoms}

    def encode(self, obj: Any) -> bytes:
        """Write `obj` as JSON in UTF-8."""
        return orjson.dumps(self._flat(obj) or self._tagged(obj))

    def _flat(self, obj: Any) -> dict[str, Any] | None:
        """The short way of flat events, which most are; None for what is nested or of a derived type."""
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
        """Read what `encode` wrote."""
        return self._untagged(orjson.loads(data))

    def _tagged(self, value: Any) -> Any:
        kind = type(value)
        if kind in ATOMS:
            return value
        if kind is dict:
            return {key: each if type(each) in ATOMS else self._tagged(each) for key, each in value.items()}
        if kind is list or kind is tuple:
            return [self._tagged(each) for each in value]
        transcoding = self._by_type.get(kind) or self._inherited(kind)
        if transcoding is not None:
            return {"_type_": transcoding.name, "_data_": self._tagged(transcoding.encode(value))}
        if isinstance(value, str | int):
            return value  # an enumeration's member is its value; orjson writes it so
        msg = f"{kind.__qualname__} has no transcoding: {sorted(self._by_name)} have"
        raise TranscodingNotRegisteredError(msg)

    def _inherited(self, kind: type) -> Transcoding | None:
        """Find the transcoding of a kind that is derived from a known one: asyncpg has a UUID of its own."""
        return next((known for base in kind.__mro__ if (known := self._by_type.get(base))), None)

    def _untagged(self, value: Any) -> Any:
        if type(value) is dict:
            if len(value) == 2 and "_type_" in value and "_data_" in value:
                return self._transcoding(value["_type_"]).decode(self._untagged(value["_data_"]))
            return {key: each if type(each) in ATOMS else self._untagged(each) for key, each in value.items()}
        if type(value) is list:
            return [self._untagged(each) for each in value]
        return value

    def _transcoding(self, name: str) -> Transcoding:
        try:
            return self._by_name[name]
        except KeyError:
            msg = f"nothing here reads {name!r}"
            raise TranscodingNotRegisteredError(msg) from None


def _of_atoms(values: list[Any]) -> list[Any]:
    """Give a list that JSON has types for as it is; KeyError for any other."""
    if ATOMS.issuperset(map(type, values)):
        return values
    raise KeyError


def _tag_of(transcoding: Transcoding) -> Callable[[Any], dict[str, Any]]:
    """Give what puts a type's name beside its value. Days and moments orjson writes itself, as ISO 8601."""
    name, encode = transcoding.name, transcoding.encode
    if transcoding.type in {date, datetime}:
        return lambda value: {"_type_": name, "_data_": value}
    return lambda value: {"_type_": name, "_data_": encode(value)}


def make_transcoder() -> ReadableTranscoder:
    """Make the transcoder of everything that is stored: events and what is sealed inside them."""
    return ReadableTranscoder(UUIDAsHex(), DatetimeAsISO(), DateAsISO(), DecimalAsStr(), BytesAsBase64())


def make_mapper() -> Mapper[UUID]:
    """Make the library's mapper (topics, upcasting of old versions) around our transcoder."""
    return Mapper(make_transcoder())
