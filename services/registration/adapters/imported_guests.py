"""What the database knows of guests who are imported, and what earlier lines of a file had (R29)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from shared.event_log import vacuum_soon
from shared.event_log.export.format import TransferredTable
from shared.platform.postgres import Script
from shared.platform.roles import Rights

if TYPE_CHECKING:
    import sqlite3

# `row_hash`: a keyed hash of the row of the file, so that the same file changes nothing and another row is
# reported. An erasure removes it. A stream of a guest with a derived id and without this row was erased.
TABLE = """
CREATE TABLE imported_guests (guest_id uuid PRIMARY KEY, row_hash bytea NOT NULL);
SELECT rows_die_with_subject('imported_guests', 'guest_id');
"""
SCHEMA: Sequence[Script] = (
    Script(
        "registration_0013_imported_guests",
        TABLE + vacuum_soon("imported_guests"),
        {"imported_guests": Rights("SELECT, INSERT")},
    ),
)
TRANSFERRED_TABLES: Sequence[TransferredTable] = (TransferredTable("imported_guests", "guest_id"),)

# No EXISTS: for that the planner may read all of the log.
KNOWN = """
SELECT wanted.guest_id, row_hash FROM unnest($1::uuid[]) AS wanted (guest_id)
LEFT JOIN imported_guests USING (guest_id)
WHERE row_hash IS NOT NULL
OR (SELECT true FROM stored_events WHERE originator_id = wanted.guest_id AND originator_version = 1)
"""
FOUND = """
SELECT person_ref, guest_id FROM registrations WHERE organisation = $1 AND person_ref = ANY ($2)
UNION ALL
SELECT person_ref, guest_id FROM shared_references WHERE organisation = $1 AND person_ref = ANY ($2)
"""
ASKING = """
SELECT account_id, array_agg(guest_id) AS guest_ids FROM registration_accounts
WHERE organisation = $1 AND account_id = ANY ($2) GROUP BY account_id
"""


class PostgresImportedGuests:
    """See `import_guests.ImportedGuests`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def known(self, guest_ids: Sequence[UUID]) -> Mapping[UUID, bytes | None]:
        """See `ImportedGuests.known`."""
        rows = await self._pool.fetch(KNOWN, guest_ids)
        return {row["guest_id"]: row["row_hash"] for row in rows}

    async def found(self, organisation: str, refs: Sequence[str]) -> Mapping[str, UUID]:
        """See `ImportedGuests.found`."""
        rows = await self._pool.fetch(FOUND, organisation, refs)
        return {row["person_ref"]: row["guest_id"] for row in rows}

    async def asking(self, organisation: str, account_ids: Sequence[str]) -> Mapping[str, Sequence[UUID]]:
        """See `ImportedGuests.asking`."""
        rows = await self._pool.fetch(ASKING, organisation, account_ids)
        return {row["account_id"]: row["guest_ids"] for row in rows}


class SeenOnDisk:
    """See `import_guests.SeenInFile`. Only hashes, under a key of this run, are on the disk."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._key = os.urandom(32)
        database.execute("CREATE TABLE seen (what BLOB PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID")

    def first_line(self, what: str, line: int) -> int:
        """See `SeenInFile.first_line`."""
        digest = hashlib.blake2b(what.encode(), key=self._key, digest_size=16).digest()
        if self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (digest, line)).rowcount:
            return line
        [(first,)] = self._database.execute("SELECT line FROM seen WHERE what = ?", (digest,))
        return int(first)


@contextmanager
def seen_on_disk() -> Iterator[SeenOnDisk]:
    """Open an empty record of what lines had. SQLite deletes its file when it is closed, or killed."""
    import sqlite3  # noqa: PLC0415 - only an import of guests needs it

    with closing(sqlite3.connect("", isolation_level=None)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("BEGIN")  # all of it is one transaction, which is never committed
        yield SeenOnDisk(database)
