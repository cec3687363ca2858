"""The table of card prefixes as a CSV file (R2): checked as a whole before any of it counts.

organisation_code,organisation,isil,updated_on,card_prefixes
F,Bibliotheekservice Fryslân,NL-083424,2025-06-19,1901 1902 8447
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from io import StringIO
from pathlib import Path

from registration.domain.card import is_prefix
from registration.domain.errors import MalformedIsil
from registration.domain.isil import Isil

COLUMNS = ("organisation_code", "organisation", "isil", "updated_on", "card_prefixes")


@dataclass(frozen=True, slots=True)
class LibraryPrefixes:
    """One line: a library, and the prefixes that its cards carry."""

    organisation_code: str
    organisation: str
    isil: Isil
    updated_on: date
    prefixes: tuple[str, ...]


class PrefixFileMistake(Exception):
    """The file of card prefixes is wrong; the text names the line and what is allowed."""


def packaged_prefixes() -> list[LibraryPrefixes]:
    """The table that comes with the product: what could be read of the one that clerks used."""
    data = files("registration").joinpath("data/isil_card_prefixes.csv")
    return read_prefixes(data.read_text(encoding="utf-8"))


def read_prefix_file(path: Path) -> list[LibraryPrefixes]:
    """Every line of the file, UTF-8. Raises PrefixFileMistake, OSError."""
    try:
        return read_prefixes(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise PrefixFileMistake(f"{path}, line {line}: save the file as UTF-8") from None
    except PrefixFileMistake as mistake:
        raise PrefixFileMistake(f"{path}, {mistake}") from None


def read_prefixes(text: str) -> list[LibraryPrefixes]:
    """See read_prefix_file; a mistake in the text names the line only."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        libraries = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise PrefixFileMistake(f"line {reader.line_num}: {error}") from None
    if not libraries or tuple(cell.strip() for cell in libraries[0][1]) != COLUMNS:
        raise PrefixFileMistake(f"line 1: the columns must be {','.join(COLUMNS)}")
    if len(libraries) == 1:
        raise PrefixFileMistake("line 2: there is no library in the file, and an empty table finds nobody")
    return list(_distinct(libraries[1:]))


def _distinct(rows: Sequence[tuple[int, list[str]]]) -> Iterator[LibraryPrefixes]:
    lines: dict[str, int] = {}
    for number, row in rows:
        try:
            library = _library(row)
        except ValueError as error:
            raise PrefixFileMistake(f"line {number}: {error}") from None
        first = lines.setdefault(library.isil.base, number)
        if first != number:
            raise PrefixFileMistake(f"line {number}: {library.isil.base} stands on line {first} already")
        yield library


def _library(row: Sequence[str]) -> LibraryPrefixes:
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} columns; there must be {len(COLUMNS)}: {','.join(COLUMNS)}")
    code, organisation, isil, updated_on, prefixes = (cell.strip() for cell in row)
    if not code or not organisation:
        raise ValueError("organisation_code and organisation must not be empty")
    return LibraryPrefixes(code, organisation, _isil(isil), _day(updated_on), _prefixes(prefixes))


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
            raise ValueError(f"{prefix} stands there twice")
    return prefixes
