"""A view: tables computed from the log, one stream at a time (ADR 0009)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from shared.event_log import VACUUMED, DataKey, vacuum_soon
from shared.platform.postgres import Script
from shared.platform.roles import Rights


class ViewFailed(Exception):
    """A view cannot go on. Nothing was changed; the text says why, without personal data."""

    def __init__(self, view: str, reason: str) -> None:
        super().__init__(view, reason)
        self.view, self.reason = view, reason

    def __str__(self) -> str:
        return f"projection {self.view} failed: {self.reason}."


class FoldFailed(ViewFailed):
    """A view cannot apply an event. Nothing was changed; the text names the event."""

    def __init__(self, view: str, stream: UUID, position: int, topic: str, reason: str) -> None:
        Exception.__init__(self, view, stream, position, topic, reason)
        self.view, self.stream, self.position, self.topic, self.reason = view, stream, position, topic, reason

    def __str__(self) -> str:
        return (
            f"projection {self.view} failed at position {self.position}"
            f" ({self.topic}, stream {self.stream}): {self.reason}."
        )


class ViewStopped(Exception):
    """A view has stopped; the text says why. It goes on by itself once it can."""


class RebuildRunning(Exception):
    """Another process rebuilds or verifies this view now. Wait until it is done, or stop it."""


class NoSuchView(LookupError):
    """There is no such view."""


class ViewBehind(Exception):
    """The view does not show the latest change yet. Try again in a moment."""


SCHEMA: Sequence[Script] = (
    Script(
        "projections_0001",
        """
        -- `position`: all events up to here are in the view. It changes in the transaction of the rows. A
        -- process locks this row first, so two processes of one view take turns. `failure`: why it stopped.
        CREATE TABLE projections (
            name text PRIMARY KEY,
            position bigint NOT NULL DEFAULT 0,
            moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            rebuilt_at timestamptz,
            failure text
        );
        """,
        {"projections": Rights("SELECT, UPDATE")},
    ),
    # The version of the fold that made all rows of the view: see `View.version`.
    Script(
        "projections_0002_version", "ALTER TABLE projections ADD COLUMN version integer NOT NULL DEFAULT 1"
    ),
    # `version_at`: `moved_at`, as releases write it that know versions. The release before those sets
    # `moved_at` alone, beside this one in an upgrade or after the way back: then rows of its fold came in.
    Script("projections_0003_version_at", "ALTER TABLE projections ADD COLUMN version_at timestamptz"),
)
FIRST_VERSION = 1
CURRENT_VERSION = (
    f"CASE WHEN projections.version_at = projections.moved_at THEN projections.version"
    f" ELSE {FIRST_VERSION} END"
)
"""SQL for the oldest version of the fold that made rows of a view."""


class RecordedDomainEvent(NamedTuple):
    """A domain event with its position, its stream version, its time and who caused it."""

    event: Any
    position: int
    version: int
    recorded_at: datetime
    caused_by: str


Row = tuple[Any, ...]
Rows = Sequence[Sequence[Row]]
"""The rows for each table of the view. The first column is the stream id."""

Fold = Callable[[Sequence[RecordedDomainEvent], DataKey | None], Rows]
"""All events of one stream -> its rows. The key is None if it was erased or the view does not decrypt."""


@dataclass(frozen=True, slots=True)
class ViewTable:
    """One table of a view, in SQL. The column `stream_id uuid` comes first and is not in `columns`.

    `key`: the primary key, which begins with stream_id; `indexes`: what follows `CREATE INDEX ON <name>`.
    """

    name: str
    columns: str
    key: str = "stream_id"
    indexes: tuple[str, ...] = ()

    @property
    def column_names(self) -> list[str]:
        """The names of its columns, in the order of the values in a row of a fold.

        Rows are written and compared by these names: a later release may have added columns already.
        """
        definitions = re.sub(r"\([^()]*\)", "", self.columns).split(",")
        return ["stream_id", *(definition.split()[0] for definition in definitions)]

    def creation(self, name: str) -> str:
        """Return SQL that creates the table under a name, without key and indexes, to be filled fast."""
        return f"CREATE TABLE {name} (stream_id uuid NOT NULL, {self.columns}) WITH ({VACUUMED})"

    def completion(self, name: str) -> str:
        """Return SQL that adds key and indexes to the table of that name."""
        keys = [f"ALTER TABLE {name} ADD PRIMARY KEY ({self.key})"]
        return ";".join([*keys, *(f"CREATE INDEX ON {name} {index}" for index in self.indexes)])


@dataclass(frozen=True, slots=True)
class View:
    """A read model. `topics`: all event types of its streams; `decrypts`: it reads personal data.

    `version`: raise it when the fold returns other rows for the same events. A worker then rebuilds the view.
    """

    name: str
    about: str
    topics: frozenset[str]
    tables: tuple[ViewTable, ...]
    fold: Fold
    decrypts: bool = False
    version: int = 1

    def schema(self) -> Script:
        """Return its migration: empty tables, and a checkpoint at the beginning of the log.

        The service owns the tables, because it makes them again at each rebuild. A reader may not read what
        holds personal data in clear text.
        """
        statements = [f"{table.creation(table.name)};{table.completion(table.name)}" for table in self.tables]
        checkpoint = (
            "INSERT INTO projections (name, version, moved_at, version_at)"  # noqa: S608 - constants
            f" VALUES ('{self.name}', {self.version}, now(), now())"
        )
        rights = {table.name: Rights(None, reader=not self.decrypts) for table in self.tables}
        return Script(f"view_{self.name}", ";".join([*statements, checkpoint]), rights)


def vacuumed_views(views: Sequence[View]) -> Script:
    """Return the migration after which views of an earlier release are vacuumed soon (R19)."""
    tables = [table.name for view in views for table in view.tables]
    return Script("views_0001_vacuum", vacuum_soon(*tables))
