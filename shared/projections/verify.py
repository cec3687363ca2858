"""Verify a view: fold it again from the log, compare checksums, list the rows that differ (ADR 0009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from shared.projections.folding import TOUCHED, Folder, reproject
from shared.projections.rebuild import Progress, Source, alone, build
from shared.projections.view import View, ViewTable

CHECK = "__checked"
MOST_NAMED = 100

# A sum, because the order of rows must not matter; a numeric, because it never overflows.
CHECKSUM = "SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM ({}) t"


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs. `in_view` None: the view lacks it; `in_log` None: the log does not lead to it."""

    table: str
    key: Mapping[str, Any]
    in_view: Mapping[str, Any] | None
    in_log: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of a check. `differences`: at most MOST_NAMED for each table."""

    view: str
    position: int
    rows: int
    differences: tuple[Difference, ...]


async def verify(source: Source, view: View, progress: Progress) -> Verified:
    """Compare the live view with its rows folded from the log, as of the view's own position.

    Raises FoldFailed, RebuildRunning.
    """
    async with alone(source, view, CHECK) as connection:
        built = await build(connection, source, view, CHECK, progress)
        # One snapshot for the view's position and its rows, because the live view may move in between.
        async with connection.transaction(isolation="repeatable_read"):
            position: int = await connection.fetchval(
                "SELECT position FROM projections WHERE name = $1", view.name
            )
            await _bring_to(connection, source.folder(view), built.to_position, position)
            rows, differences = 0, list[Difference]()
            for table in view.tables:
                count, differing = await _compare(connection, table)
                rows += count
                differences += differing
    return Verified(view.name, position, rows, tuple(differences))


async def _bring_to(connection: asyncpg.Connection, folder: Folder, built_to: int, position: int) -> None:
    """Bring the folded rows to `position`, forward or back."""
    between = (min(built_to, position), max(built_to, position))
    touched = await connection.fetch(TOUCHED, *between, list(folder.view.topics))
    await reproject(connection, folder, CHECK, [record[0] for record in touched], position)


async def _compare(connection: asyncpg.Connection, table: ViewTable) -> tuple[int, list[Difference]]:
    columns = ", ".join(table.column_names)  # only those that this release knows
    live = f"SELECT {columns} FROM {table.name}"  # noqa: S608 - our own names
    check = f"{live}{CHECK}"
    (in_view,) = await connection.fetch(CHECKSUM.format(live))
    (in_log,) = await connection.fetch(CHECKSUM.format(check))
    if in_view == in_log:
        return in_view["rows"], []
    rows = await connection.fetch(_differing(table, live, check), MOST_NAMED)
    return in_view["rows"], [_difference(table, *map(orjson.loads, row)) for row in rows]


def _differing(table: ViewTable, live: str, check: str) -> str:
    return f"""
    WITH in_view AS (SELECT to_jsonb(t) AS row FROM ({live}) t EXCEPT SELECT to_jsonb(t) FROM ({check}) t),
         in_log AS (SELECT to_jsonb(t) AS row FROM ({check}) t EXCEPT SELECT to_jsonb(t) FROM ({live}) t)
    SELECT coalesce(in_view.row, 'null'), coalesce(in_log.row, 'null') FROM in_view FULL JOIN in_log
        ON {" AND ".join(f"in_view.row -> '{key}' = in_log.row -> '{key}'" for key in _key_of(table))}
    ORDER BY coalesce(in_view.row, in_log.row)::text LIMIT $1
    """  # noqa: S608 - our own names


def _difference(
    table: ViewTable, in_view: Mapping[str, Any] | None, in_log: Mapping[str, Any] | None
) -> Difference:
    row = in_view or in_log or {}
    return Difference(table.name, {column: row[column] for column in _key_of(table)}, in_view, in_log)


def _key_of(table: ViewTable) -> list[str]:
    return [column.strip() for column in table.key.split(",")]
