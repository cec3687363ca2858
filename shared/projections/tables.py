"""Writing a view's rows: into its tables, or into those that are being built beside them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shared.projections.folding import Connection, Folder
from shared.projections.view import Row, View

TOUCHED = """
SELECT DISTINCT originator_id FROM stored_events
WHERE notification_id > $1 AND notification_id <= $2 AND topic = ANY ($3)
"""
HEAD = "SELECT coalesce(max(notification_id), 0) FROM stored_events"
STEP = 1000  # events whose streams are folded again at a time


async def head_of(connection: Connection) -> int:
    """The position of the log's last event."""
    head: int = await connection.fetchval(HEAD)
    return head


async def copy_rows(connection: Connection, view: View, suffix: str, rows: Sequence[Sequence[Row]]) -> None:
    """Add rows to the tables of a view, or to those of the same names with a suffix."""
    for table, of_table in zip(view.tables, rows, strict=True):
        if of_table:
            await connection.copy_records_to_table(f"{table.name}{suffix}", records=of_table)


async def bring_up(connection: Connection, folder: Folder, suffix: str, after: int, upto: int) -> None:
    """Bring the tables from one position to another, step by step, within the caller's transaction."""
    while after < upto:
        step = min(after + STEP, upto)
        touched = await connection.fetch(TOUCHED, after, step, list(folder.view.topics))
        await fold_again(connection, folder, suffix, [record[0] for record in touched], step)
        after = step


async def fold_again(
    connection: Connection, folder: Folder, suffix: str, streams: Sequence[UUID], upto: int
) -> None:
    """Replace the rows of these streams by what they are as of a position."""
    if not streams:
        return
    rows = await folder.some(connection, streams, upto)
    for table in folder.view.tables:
        await connection.execute(
            f"DELETE FROM {table.name}{suffix} WHERE stream_id = ANY ($1)",  # noqa: S608 - our own name
            streams,
        )
    await copy_rows(connection, folder.view, suffix, rows)
