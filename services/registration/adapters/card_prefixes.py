"""The card-prefix table (R2): its CSV file, which is checked as a whole, and its rows in PostgreSQL."""

import csv
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg
import structlog

from registration.application.dependencies import ListedLibrary
from registration.domain.errors import Candidate
from shared.event_log.export.format import TransferredTable
from shared.kernel.errors import ConfigurationError
from shared.kernel.files import read_file
from shared.kernel.library_card import Isil, MalformedIsil, is_prefix
from shared.kernel.text import tidy
from shared.platform.postgres import Script
from shared.platform.roles import Rights

log = structlog.get_logger(__name__)

LARGEST_TABLE = 16 * 1024 * 1024
"""In bytes. The table of all Dutch libraries has some ten thousands."""

COLUMNS = ("organisation_code", "organisation", "isil", "updated_on", "card_prefixes")
PLACE = "place"
"""A sixth column, which a file may have: libraries of one organisation differ by it."""


@dataclass(frozen=True, slots=True)
class LibraryPrefixes:
    """One line of the file: a library and the prefixes of its cards."""

    organisation_code: str
    organisation: str
    isil: Isil
    updated_on: date
    prefixes: tuple[str, ...]
    place: str = ""


def packaged_prefixes() -> list[LibraryPrefixes]:
    """Return the table that comes with the product: the legible part of the counter manual's table."""
    data = files("registration").joinpath("data/isil_card_prefixes.csv")
    return read_prefixes(data.read_text(encoding="utf-8"))


def read_prefix_file(path: Path) -> list[LibraryPrefixes]:
    """Read all lines of a file in UTF-8. Raises ConfigurationError, OSError."""
    try:
        return read_prefixes(read_file(path, "utf-8-sig", largest=LARGEST_TABLE))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}, line {line}: save the file as UTF-8") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}, {error}") from None


def read_prefixes(text: str) -> list[LibraryPrefixes]:
    """Read the text of such a file. A ConfigurationError names the line, but not the file."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        libraries = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ConfigurationError(f"line {reader.line_num}: {error}") from None
    columns = tuple(cell.strip() for cell in libraries[0][1]) if libraries else ()
    if columns not in {COLUMNS, (*COLUMNS, PLACE)}:
        raise ConfigurationError(f"line 1: the columns must be {','.join(COLUMNS)}, and {PLACE} if you like")
    if len(libraries) == 1:
        raise ConfigurationError(
            "line 2: the file holds no library; with an empty table no card would show its library"
        )
    return list(_distinct(libraries[1:], columns))


def _distinct(rows: Sequence[tuple[int, list[str]]], columns: Sequence[str]) -> Iterator[LibraryPrefixes]:
    lines: dict[str, int] = {}
    for number, row in rows:
        try:
            library = _library(row, columns)
        except ValueError as error:
            raise ConfigurationError(f"line {number}: {error}") from None
        first = lines.setdefault(library.isil.base, number)
        if first != number:
            raise ConfigurationError(f"line {number}: {library.isil.base} is already on line {first}")
        yield library


def _library(row: Sequence[str], columns: Sequence[str]) -> LibraryPrefixes:
    if len(row) != len(columns):
        raise ValueError(f"{len(row)} columns; there must be {len(columns)}: {','.join(columns)}")
    code, organisation, isil, updated_on, prefixes, *place = (tidy(cell).strip() for cell in row)
    if not code or not organisation:
        raise ValueError("organisation_code and organisation must not be empty")
    return LibraryPrefixes(
        code, organisation, _isil(isil), _day(updated_on), _prefixes(prefixes), "".join(place)
    )


def _isil(text: str) -> Isil:
    try:
        return Isil.parse(text)
    except MalformedIsil:
        raise ValueError(f"{text!r} is not an ISIL: NL- and six digits, or ten") from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"updated_on {text!r} is not a date: YYYY-MM-DD") from None


def _prefixes(text: str) -> tuple[str, ...]:
    prefixes = tuple(text.split())
    if not prefixes:
        raise ValueError("card_prefixes must not be empty")
    for prefix in prefixes:
        if not is_prefix(prefix):
            raise ValueError(f"{prefix!r} is not a card prefix: four digits, several separated by spaces")
        if prefixes.count(prefix) > 1:
            raise ValueError(f"{prefix} is listed twice")
    return prefixes


# The prefix alone is not unique: several libraries may share one, and then the clerk chooses (R2).
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
PLACES = "ALTER TABLE card_prefixes ADD COLUMN place text NOT NULL DEFAULT ''"
_COLUMNS = ("prefix", "isil", "organisation_code", "organisation", "updated_on", "place")
_FIRST_COLUMNS = _COLUMNS[:-1]
_Row = tuple[str, str, str, str, date, str]


def _first_content(libraries: Iterable[LibraryPrefixes]) -> str:
    """Return the SQL that fills the new table. Afterwards only operators change it."""
    rows = ", ".join(f"({', '.join(_literal(value) for value in row[:-1])})" for row in _rows(libraries))
    return f"INSERT INTO card_prefixes ({', '.join(_FIRST_COLUMNS)}) VALUES {rows};"  # noqa: S608 - our own file


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
                library.place,
            )


# Operators replace the rows (`isil import`).
SCHEMA: Sequence[Script] = (
    Script(
        "registration_0003_card_prefixes",
        CARD_PREFIXES + _first_content(packaged_prefixes()),
        {"card_prefixes": Rights("SELECT, INSERT, DELETE")},
    ),
    # Who replaced the table, and the libraries for which something changed.
    Script(
        "registration_0010_card_prefix_imports",
        """
        CREATE TABLE card_prefix_imports (
            imported_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
            by text NOT NULL,
            prefixes bigint NOT NULL,
            added text[] NOT NULL,
            removed text[] NOT NULL,
            changed text[] NOT NULL
        );
        """,
        {"card_prefix_imports": Rights("SELECT, INSERT")},
    ),
    Script("registration_0011_places_of_libraries", PLACES),
)
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("card_prefixes", 'prefix COLLATE "C", isil COLLATE "C"', is_filled_at_first=True),
    TransferredTable("card_prefix_imports", "imported_at"),
)


@dataclass(frozen=True, slots=True)
class PrefixChanges:
    """What an import changes: the ISILs of libraries. `prefixes`: the rows of the new table."""

    prefixes: int
    added: Sequence[str]
    removed: Sequence[str]
    changed: Sequence[str]


@dataclass(frozen=True, slots=True)
class PrefixImport:
    """An import that was done. `by`: who did it."""

    imported_at: datetime
    by: str
    changes: PrefixChanges


LIBRARIES = """
SELECT isil, min(organisation), min(organisation_code), max(place), max(updated_on),
    array_agg(prefix ORDER BY prefix)
FROM card_prefixes GROUP BY isil
"""
KEPT_SECONDS = 10.0  # every page names libraries, and the table changes a few times a year


class PostgresCardPrefixes:
    """See `dependencies.CardPrefixes`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._libraries: Sequence[ListedLibrary] = ()
        self._read_at = -math.inf

    async def candidates(self, prefixes: Sequence[str]) -> Sequence[Candidate]:
        """See `CardPrefixes.candidates`. They are ordered by ISIL."""
        rows = await self._pool.fetch(
            "SELECT DISTINCT isil, organisation, organisation_code FROM card_prefixes"
            " WHERE prefix = ANY($1) ORDER BY isil",
            list(prefixes),
        )
        return [Candidate(row["isil"], row["organisation"], row["organisation_code"]) for row in rows]

    async def libraries(self) -> Sequence[ListedLibrary]:
        """See `CardPrefixes.libraries`."""
        now = time.monotonic()
        if now - self._read_at >= KEPT_SECONDS:
            self._libraries = [ListedLibrary(*row) for row in await self._pool.fetch(LIBRARIES)]
            self._read_at = now
        return self._libraries

    async def changes(self, libraries: Sequence[LibraryPrefixes]) -> PrefixChanges:
        """Return what an import of these libraries would change. Write nothing."""
        return _changes(await self._pool.fetch(_ALL), libraries)

    async def replace(self, libraries: Sequence[LibraryPrefixes], by: str) -> PrefixChanges:
        """Replace the whole table, and record who did it, in one transaction."""
        async with self._pool.acquire() as connection, connection.transaction():
            # Without the lock, two imports at once would delete only what they see, and leave a mixture.
            await connection.execute("LOCK TABLE card_prefixes IN EXCLUSIVE MODE")
            changes = _changes(await connection.fetch(_ALL), libraries)
            await connection.execute("DELETE FROM card_prefixes")
            await connection.copy_records_to_table(
                "card_prefixes", records=_rows(libraries), columns=_COLUMNS
            )
            counts = (changes.prefixes, changes.added, changes.removed, changes.changed)
            await connection.execute(_RECORD, by, *counts)
        log.info("card_prefixes.replaced", by=by, prefixes=changes.prefixes)
        return changes

    async def imports(self, limit: int) -> Sequence[PrefixImport]:
        """Return the last imports, the newest first."""
        rows = await self._pool.fetch(_IMPORTS, limit)
        return [PrefixImport(row["imported_at"], row["by"], PrefixChanges(*row[2:])) for row in rows]


_ALL = f"SELECT {', '.join(_COLUMNS)} FROM card_prefixes"  # noqa: S608 - constants only
_RECORD = """
INSERT INTO card_prefix_imports (by, prefixes, added, removed, changed) VALUES ($1, $2, $3, $4, $5)
"""
_IMPORTS = """
SELECT imported_at, by, prefixes, added, removed, changed FROM card_prefix_imports
 ORDER BY imported_at DESC LIMIT $1
"""


def _changes(now: Iterable[Any], libraries: Iterable[LibraryPrefixes]) -> PrefixChanges:
    rows = list(_rows(libraries))
    before, after = _by_isil(now), _by_isil(rows)
    return PrefixChanges(
        prefixes=len(rows),
        added=sorted(after.keys() - before.keys()),
        removed=sorted(before.keys() - after.keys()),
        changed=sorted(isil for isil in after.keys() & before.keys() if after[isil] != before[isil]),
    )


def _by_isil(rows: Iterable[Any]) -> dict[str, set[_Row]]:
    found: dict[str, set[_Row]] = {}
    for row in rows:
        found.setdefault(row[1], set()).add(tuple(row))
    return found
