"""Stored events as readable JSON for an operator, with personal data encrypted or decrypted."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson

from shared.event_log.aggregate_store import make_transcoder
from shared.event_log.encryption import DataKey, MasterKeys
from shared.event_log.errors import DecryptionFailed
from shared.event_log.types import RecordedEvent

ENCRYPTED = "encrypted"
_TRANSCODER = make_transcoder()

Open = Callable[[bytes], object]
"""What to show for bytes. In events, bytes are encrypted personal data."""


def keep_sealed(_encrypted: bytes) -> object:
    """Return a text that shows only that the value exists."""
    return ENCRYPTED


def readable_state(state: bytes, opened: Open = keep_sealed) -> dict[str, Any]:
    """Return the stored fields as plain values, without the stored names of their types.

    A state that cannot be read is returned in base64, with the kind of error as `unreadable`.
    """
    try:
        return dict(_plain(_TRANSCODER.decode(state), opened))
    except DecryptionFailed:
        raise
    except Exception as error:
        return {"unreadable": type(error).__name__, "state_base64": b64encode(state).decode()}


def readable_event(event: RecordedEvent) -> dict[str, Any]:
    """Return an event with its metadata and fields. Encrypted fields stay encrypted."""
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
            return {name: _plain(field, opened) for name, field in value.items()}
        case list():
            return [_plain(item, opened) for item in value]
        case _:
            return value


class Decrypter:
    """Decrypts the personal data of events. A value stays encrypted if its key was erased or does not fit."""

    def __init__(self, master_keys: MasterKeys) -> None:
        self._master_keys = master_keys

    def opened(self, stream: UUID, state: bytes, wrapped: bytes | None) -> bytes:
        """Return the state as readable JSON. `wrapped`: the data key of the stream's subject, if it has one.

        Raises DecryptionFailed when no master key unwraps it.
        """
        if wrapped is None:
            return _json(readable_state(state))
        key = self._master_keys.unwrap(stream, wrapped)
        return _json(readable_state(state, lambda encrypted: _decrypt(key, encrypted)))


def _decrypt(key: DataKey, encrypted: bytes) -> object:
    try:
        return key.decrypt(encrypted)
    except DecryptionFailed:
        return ENCRYPTED


def _json(fields: dict[str, object]) -> bytes:
    return orjson.dumps(fields, default=str)  # decimals as text, as they are stored
