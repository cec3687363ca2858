"""A stored event as readable JSON for an operator, personal data encrypted or decrypted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson

from shared.event_log.encryption import DataKey, MasterKeys
from shared.event_log.errors import DecryptionFailed
from shared.event_log.mapping import make_transcoder
from shared.event_log.types import RecordedEvent

ENCRYPTED = "sealed"
_TRANSCODER = make_transcoder()

Open = Callable[[bytes], object]
"""What to show of bytes: in events they are sealed personal data."""


def keep_sealed(_sealed: bytes) -> object:
    """Show that something is there, and no more."""
    return ENCRYPTED


def readable_state(state: bytes, opened: Open = keep_sealed) -> dict[str, Any]:
    """Read the stored fields as plain values, without the type names that stand beside them."""
    fields: dict[str, Any] = _plain(_TRANSCODER.decode(state), opened)
    return fields


def readable_event(event: RecordedEvent) -> dict[str, Any]:
    """Give an event with who, when and why; sealed fields stay sealed."""
    return {
        "position": event.position,
        "stream": event.stream_id,
        "version": event.stream_version,
        "topic": event.event_type,
        "event_id": event.event_id,
        "recorded_at": event.recorded_at,
        "caused_by": event.metadata.caused_by,
        "correlation": event.metadata.correlation_id,
        "causation": event.metadata.causation_id,
        "fields": readable_state(event.state),
    }


def _plain(value: Any, opened: Open) -> Any:
    match value:
        case bytes():
            return _plain(opened(value), keep_sealed)
        case dict():
            return {name: _plain(each, opened) for name, each in value.items()}
        case list():
            return [_plain(each, opened) for each in value]
        case _:
            return value


class Decrypter:
    """Opens what is sealed in an event. What has no key any more (erased) or another's stays sealed."""

    def __init__(self, master_keys: MasterKeys) -> None:
        self._master_keys = master_keys

    def opened(self, stream: UUID, state: bytes, wrapped: bytes | None) -> bytes:
        """Give the state as readable JSON; `wrapped` is the key of the stream's person."""
        if wrapped is None:
            return _json(readable_state(state))
        key = self._master_keys.unwrap(stream, wrapped)
        return _json(readable_state(state, lambda sealed: _open(key, sealed)))


def _open(key: DataKey, sealed: bytes) -> object:
    try:
        return key.decrypt(sealed)
    except DecryptionFailed:
        return ENCRYPTED


def _json(fields: dict[str, object]) -> bytes:
    return orjson.dumps(fields, default=str)  # a decimal is text, as it is where it is stored
