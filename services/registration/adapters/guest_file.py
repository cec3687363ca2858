"""Read a file of guests, CSV or JSON Lines, one line at a time (docs/import-guests.md)."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import orjson

from registration.application.import_guests import COLUMNS, NEEDED_COLUMNS, Line
from shared.kernel.text import summary

Format = Literal["csv", "jsonl"]
FORMATS: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
LONGEST_LINE = 64 * 1024
"""In bytes. A guest has some hundreds."""
UTF_8_MARK = b"\xef\xbb\xbf"
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
DELIMITERS = ",;\t"

CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # not the tab, which may separate values
TOO_LONG = f"the line is longer than {LONGEST_LINE} bytes"
NOT_UTF_8 = "the line is not written in UTF-8"
CONTROL = "the line has a control character"


class UnreadableFile(Exception):
    """The file cannot hold guests; the text says why. No line after it can be read."""


def format_of(file: Path, form: Format | None) -> Format:
    """Return the format that was asked for, or the one of the file's suffix. Raises UnreadableFile."""
    found = form or FORMATS.get(file.suffix.lower())
    if found is None:
        raise UnreadableFile("the name of the file does not end with .csv or .jsonl: pass --format")
    return found


def read_guest_file(file: Path, form: Format) -> Iterator[Line]:
    """Yield the lines of the file, each with its fields or with what is wrong with it.

    Empty lines and the heading are left out. Raises UnreadableFile, and OSError.
    """
    with file.open("rb") as opened:
        lines = _lines(opened)
        yield from _csv(lines) if form == "csv" else _json(lines)


def _lines(opened: IO[bytes]) -> Iterator[tuple[int, str | Line]]:
    """Yield number and text of each line that is not empty. What is wrong with one is a `Line`."""
    number = 0
    while chunk := opened.readline(LONGEST_LINE + 1):
        number += 1
        if number == 1:
            if chunk.startswith(UTF_16_MARKS):
                raise UnreadableFile("the file is written in UTF-16: save it as UTF-8")
            chunk = chunk.removeprefix(UTF_8_MARK)
        if len(chunk) > LONGEST_LINE:
            _skip_rest(opened, chunk)
            yield number, Line(number, mistakes=(TOO_LONG,))
        elif text := chunk.rstrip(b"\r\n"):
            yield number, _text(number, text)


def _skip_rest(opened: IO[bytes], chunk: bytes) -> None:
    """Read on to the end of a line of any length, without keeping it."""
    while chunk and not chunk.endswith(b"\n"):
        chunk = opened.readline(LONGEST_LINE)


def _text(number: int, line: bytes) -> str | Line:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Line(number, mistakes=(NOT_UTF_8,))
    if CONTROLS.search(text):
        return Line(number, mistakes=(CONTROL,))
    return text


def _csv(lines: Iterator[tuple[int, str | Line]]) -> Iterator[Line]:
    _, heading = next(lines, (1, ""))
    if isinstance(heading, Line):
        raise UnreadableFile(f"in the heading {heading.mistakes[0]}")
    delimiter = next((sign for sign in DELIMITERS if sign in heading), DELIMITERS[0])
    columns = _columns(heading, delimiter)
    for number, text in lines:
        yield text if isinstance(text, Line) else _csv_line(number, text, columns, delimiter)


def _columns(heading: str, delimiter: str) -> Sequence[str]:
    try:
        [columns] = csv.reader([heading], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        raise UnreadableFile("the first line must hold the names of the columns") from None
    columns = [column.strip() for column in columns]
    unknown = sorted({summary(column)[:40] for column in columns if column not in COLUMNS})
    missing = [column for column in NEEDED_COLUMNS if column not in columns]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    for what, names in (("has unknown columns", unknown), ("has twice", twice), ("lacks", missing)):
        if names:
            raise UnreadableFile(f"the heading {what}: {', '.join(names[:20])}")
    return columns


def _csv_line(number: int, text: str, columns: Sequence[str], delimiter: str) -> Line:
    try:
        [cells] = csv.reader([text], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return Line(
            number, mistakes=("a quotation mark is not closed on this line, or is in the wrong place",)
        )
    if len(cells) != len(columns):
        return Line(number, mistakes=(f"it has {len(cells)} values for {len(columns)} columns",))
    return Line(number, {column: cell.strip() or None for column, cell in zip(columns, cells, strict=True)})


def _json(lines: Iterator[tuple[int, str | Line]]) -> Iterator[Line]:
    for number, text in lines:
        yield text if isinstance(text, Line) else _json_line(number, text)


def _json_line(number: int, text: str) -> Line:
    try:
        fields: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Line(number, mistakes=("the line is not JSON",))
    if not isinstance(fields, dict):
        return Line(number, mistakes=("the line is not a JSON object",))
    return Line(number, {name: value if value != "" else None for name, value in fields.items()})
