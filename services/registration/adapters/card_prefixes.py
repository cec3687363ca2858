"""The table of card prefixes in PostgreSQL: which libraries a card may come from (R2)."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

import asyncpg

from registration.adapters.card_prefix_file import LibraryPrefixes, packaged_prefixes, read_prefix_file
from registration.domain.errors import Candidate
from shared.event_log.transfer.tables import TransferredTable

# No constraint on the prefix alone: several libraries may share one (the red ones), and the clerk chooses.
CARD_PREFIXES = """
CREATE TABLE card_prefixes (
    prefix text NOT NULL,
    isil text NOT NULL,
    organisation_code text NOT NULL,
    organisation text NOT NULL,
    updated_on date NOT NULL,
    PRIMARY KEY (prefix, isil)
);
"""
_COLUMNS = ("prefix", "isil", "organisation_code", "organisation", "updated_on")
_Row = tuple[str, str, str, str, date]


def _first_content(libraries: Iterable[LibraryPrefixes]) -> str:
    """The statement that fills the table when it is made; afterwards it is the operators' own."""
    rows = ", ".join(f"({', '.join(_literal(value) for value in row)})" for row in _rows(libraries))
    return f"INSERT INTO card_prefixes ({', '.join(_COLUMNS)}) VALUES {rows};"  # noqa: S608 - our own file


def _literal(value: str | date) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _rows(libraries: Iterable[LibraryPrefixes]) -> Iterator[_Row]:
    for library in libraries:
        for prefix in library.prefixes:
            yield (
                prefix,
                str(library.isil),
                library.organisation_code,
                library.organisation,
                library.updated_on,
            )


SCHEMA: Sequence[tuple[str, str]] = (
    ("registration_0003_card_prefixes", CARD_PREFIXES + _first_content(packaged_prefixes())),
)
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("card_prefixes", 'prefix COLLATE "C", isil COLLATE "C"', is_filled_at_first=True),
)


class PostgresCardPrefixes:
    """See `ports.CardPrefixes`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def candidates(self, prefixes: Sequence[str]) -> Sequence[Candidate]:
        """See `CardPrefixes.candidates`; in the order of their ISILs."""
        rows = await self._pool.fetch(
            "SELECT DISTINCT isil, organisation, organisation_code FROM card_prefixes"
            " WHERE prefix = ANY($1) ORDER BY isil",
            list(prefixes),
        )
        return [Candidate(row["isil"], row["organisation"], row["organisation_code"]) for row in rows]

    async def libraries(self) -> Sequence[Candidate]:
        """See `CardPrefixes.libraries`."""
        rows = await self._pool.fetch(
            "SELECT DISTINCT isil, organisation, organisation_code FROM card_prefixes"
        )
        return [Candidate(row["isil"], row["organisation"], row["organisation_code"]) for row in rows]


async def replace_prefixes(connection: asyncpg.Connection, libraries: Sequence[LibraryPrefixes]) -> int:
    """Put these in the place of the whole table, at one moment; answers how many prefixes there are now."""
    rows = list(_rows(libraries))
    async with connection.transaction():
        # Two imports at once would otherwise each delete what they saw, and leave a mixture of both.
        await connection.execute("LOCK TABLE card_prefixes IN EXCLUSIVE MODE")
        await connection.execute("DELETE FROM card_prefixes")
        await connection.copy_records_to_table("card_prefixes", records=rows, columns=_COLUMNS)
    return len(rows)


async def import_file(url: str, path: Path) -> int:
    """Replace the table by a CSV file: all of it, or nothing. Raises PrefixFileMistake, OSError."""
    libraries = read_prefix_file(path)
    connection = await asyncpg.connect(url)
    try:
        return await replace_prefixes(connection, libraries)
    finally:
        await connection.close()
