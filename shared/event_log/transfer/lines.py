"""The lines of the file, before their seal."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from shared.event_log.transfer.terms import FORMAT, FORMAT_VERSION, Transferred


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
