"""Personal data of a log, opened for those who may see it."""

from __future__ import annotations

from uuid import UUID

import orjson

from shared.event_log.errors import SealBroken
from shared.event_log.keys import DataKey, MasterKeys
from shared.event_log.readable import SEALED, readable_state


class Opener:
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
        return key.open(sealed)
    except SealBroken:
        return SEALED


def _json(fields: dict[str, object]) -> bytes:
    return orjson.dumps(fields, default=str)  # a decimal is text, as it is where it is stored
