"""Checking a view: folded anew from the log, compared by checksum, the rows that differ named (A7)."""

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

# The order of rows means nothing, so it must not matter: a sum, wide enough never to overflow.
CHECKSUM = "SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {} t"


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not as the log says. None: the view has no such row, or none follows from the log."""

    table: str
    key: Mapping[str, Any]
    in_view: Mapping[str, Any] | None
    in_log: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check found. `differences`: at most MOST_NAMED for each table."""

    view: str
    position: int
    rows: int
    differences: tuple[Difference, ...]


async def verify(source: Source, view: View, progress: Progress) -> Verified:
    """Compare the live view with what follows from the log as of the view's own position.

    Raises FoldFailed, RebuildRunning.
    """
    async with alone(source, view, CHECK) as connection:
        built = await build(connection, source, view, CHECK, progress)
        # One snapshot for the view's position and its rows: the live view may go on meanwhile.
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
    """Forward or back: the rows of a stream can be made as of any position."""
    between = (min(built_to, position), max(built_to, position))
    touched = await connection.fetch(TOUCHED, *between, list(folder.view.topics))
    await reproject(connection, folder, CHECK, [record[0] for record in touched], position)


async def _compare(connection: asyncpg.Connection, table: ViewTable) -> tuple[int, list[Difference]]:
    live, check = table.name, f"{table.name}{CHECK}"
    (in_view,) = await connection.fetch(CHECKSUM.format(live))
    (in_log,) = await connection.fetch(CHECKSUM.format(check))
    if in_view == in_log:
        return in_view["rows"], []
    rows = await connection.fetch(_differing(table, live, check), MOST_NAMED)
    return in_view["rows"], [_difference(table, *map(orjson.loads, row)) for row in rows]


def _differing(table: ViewTable, live: str, check: str) -> str:
    return f"""
    WITH in_view AS (SELECT to_jsonb(t) AS row FROM {live} t EXCEPT SELECT to_jsonb(t) FROM {check} t),
         in_log AS (SELECT to_jsonb(t) AS row FROM {check} t EXCEPT SELECT to_jsonb(t) FROM {live} t)
    SELECT coalesce(in_view.row, 'null'), coalesce(in_log.row, 'null') FROM in_view FULL JOIN in_log
        ON {" AND ".join(f"in_view.row -> '{each}' = in_log.row -> '{each}'" for each in _key_of(table))}
    ORDER BY coalesce(in_view.row, in_log.row)::text LIMIT $1
    """  # noqa: S608 - our own names


def _difference(
    table: ViewTable, in_view: Mapping[str, Any] | None, in_log: Mapping[str, Any] | None
) -> Difference:
    row = in_view or in_log or {}
    return Difference(table.name, {each: row[each] for each in _key_of(table)}, in_view, in_log)


def _key_of(table: ViewTable) -> list[str]:
    return [each.strip() for each in table.key.split(",")]
