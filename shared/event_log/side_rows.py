"""Side rows as JSON, the form in which they travel to the database with a batch of events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import orjson

from shared.event_log.types import SideRow

Group = tuple[str, tuple[str, ...], bool]
"""Rows that one INSERT can take: table, columns, or_ignore."""

WrittenRow = tuple[Group, bytes]
"""A row's group and its values as JSON."""


def write_rows(rows: Sequence[SideRow]) -> list[WrittenRow]:
    """Write rows as JSON: here, so that a value that cannot be written fails its own command only."""
    return [
        (
            (row.table, tuple(row.values), row.or_ignore),
            orjson.dumps(dict(row.values), default=_as_postgres_reads_it),
        )
        for row in rows
    ]


def join_rows(rows: Iterable[WrittenRow]) -> str | None:
    """Join the rows of a batch into the parameter of `append_events`; None when there are none."""
    groups: dict[Group, list[orjson.Fragment]] = {}
    for group, values in rows:
        groups.setdefault(group, []).append(orjson.Fragment(values))
    if not groups:
        return None
    return orjson.dumps(
        [
            {"table": table, "columns": columns, "or_ignore": or_ignore, "rows": values}
            for (table, columns, or_ignore), values in groups.items()
        ]
    ).decode()


def _as_postgres_reads_it(value: Any) -> str:
    """Write bytes, and asyncpg's own kind of UUID, which orjson does not know."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a side row cannot hold a {type(value).__qualname__}")
