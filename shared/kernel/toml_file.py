"""A TOML file of settings: read once, and every mistake in it with its line and what to do."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from shared.kernel.errors import ConfigurationError
from shared.kernel.files import read_file

T = TypeVar("T")
Where = tuple[int | str, ...]
"""The way to a value: names of tables and keys, and numbers in arrays."""
LONGEST_STATEMENT = 500
"""In lines. Looking for the lines of a file with a longer one would take too long."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a file. `where`: the key, with dots; `text`: what is wrong, or what to write instead."""

    where: str
    text: str
    file: Path | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}:{'' if self.line is None else f'{self.line}:'} "
        return place + (f"{self.where}: {self.text}" if self.where else self.text)


class Mistakes(ConfigurationError):
    """A file is not valid: `found` has every mistake, the text all of them on one line."""

    def __init__(self, found: Iterable[Mistake]) -> None:
        self.found = tuple(found)
        super().__init__("; ".join(map(str, self.found)))


class TomlFile:
    """The content of one file. `digest`: SHA-256 over its text, so that two machines can compare theirs."""

    def __init__(self, text: str, path: Path | None = None) -> None:
        """Parse the text. Raises Mistakes when it is not TOML."""
        self.path = path
        self._text = text
        self._lines: Mapping[Where, int] | None = None
        try:
            self.tables: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"\(at line (\d+)", str(error))
            line = int(found[1]) if found else max(text.count("\n"), 1)
            raise Mistakes([Mistake("", f"not valid TOML: {error}", path, line)]) from None
        except RecursionError:
            raise Mistakes([Mistake("", "not valid TOML: nested too deeply", path)]) from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file. Raises Mistakes, OSError."""
        try:
            return cls(read_file(path), path)
        except UnicodeDecodeError:
            raise Mistakes([Mistake("", "not written in UTF-8", path)]) from None

    @property
    def digest(self) -> str:
        """The same for the same content only: 64 hexadecimal digits."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    def mistake(self, where: Where, text: str) -> Mistake:
        """Return a mistake at this key, with the line of it or of the table that should have it."""
        return Mistake(".".join(map(str, where)), text, self.path, self._line_of(where))

    def table(self, name: str, reader: TypeAdapter[T], context: object = None) -> T:
        """Return one table; empty if it is not there. Raises Mistakes.

        `context`: what its validators need to know.
        """
        try:
            return reader.validate_python(self.tables.get(name, {}), context=context)
        except ValidationError as error:
            raise Mistakes(self.mistakes_of(error, {}, (name,))) from None

    def require_tables(self, *names: str) -> None:
        """Raise Mistakes for another table: one with a wrong name would count for nothing, unnoticed."""
        if other := [name for name in self.tables if name not in names]:
            text = f"no such table; allowed are {', '.join(names)}"
            raise Mistakes(self.mistake((name,), text) for name in other)

    def mistakes_of(
        self, error: ValidationError, allowed: Mapping[int, type[BaseModel]], above: Where = ()
    ) -> list[Mistake]:
        """Return what pydantic found. `allowed`: which model has the keys at so many steps from the root."""
        found = []
        for fault in error.errors(include_url=False, include_input=False):
            where = (*above, *(part for part in fault["loc"] if part != "[key]"))
            text = _sentence_of(fault["type"], fault["msg"])
            if fault["type"] == "extra_forbidden" and (model := allowed.get(len(where))):
                text = f"no such key; allowed are {', '.join(sorted(model.model_fields))}"
            found.append(self.mistake(where, text))
        return found

    def _line_of(self, where: Where) -> int | None:
        if self._lines is None:
            lines: dict[Where, int] = {}
            for path, line in _lines_of(self._text):
                lines.setdefault(path, line)
            self._lines = lines
        known = (self._lines.get(where[:length]) for length in range(len(where), 0, -1))
        return next((line for line in known if line is not None), None)


def _sentence_of(kind: str, message: str) -> str:
    if kind == "missing":
        return "is not set: add this key"
    if kind == "extra_forbidden":
        return "no such key: remove it, or correct its name"
    return message.removeprefix("Value error, ")


def _lines_of(text: str) -> Iterator[tuple[Where, int]]:
    """Yield the path of each table and key, and the line where it begins. The text is valid TOML.

    A statement is the smallest number of lines that is TOML by itself, so the parser itself says where one
    ends, whatever strings and arrays it holds.
    """
    header: Where = ()
    arrays: dict[Where, int] = {}
    for line, statement in _statements(text):
        content = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            header = tuple(_path_of(content, arrays))
            yield from ((header[:length], line) for length in range(1, len(header) + 1))
        else:
            yield from ((path, line) for path in _keys_of(content, header))


def _statements(text: str) -> Iterator[tuple[int, str]]:
    begun, pending = 1, ""
    for number, line in enumerate(text.split("\n"), 1):
        begun = begun if pending else number
        if number - begun > LONGEST_STATEMENT:
            return  # what follows is reported without a line
        pending += line + "\n"
        try:
            content = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue
        if content:
            yield begun, pending
        pending = ""


def _path_of(content: Any, arrays: dict[Where, int]) -> Iterator[int | str]:
    """Yield the parts of a header: `[a.b]` is a table in a table, `[[a]]` the next one of an array."""
    path: Where = ()
    while content:
        [(name, content)] = content.items()
        path = (*path, name)
        yield name
        if isinstance(content, list):
            number = arrays[path] = arrays.get(path, -1) + 1
            yield number
            return
        if path in arrays:
            yield arrays[path]
            path = (*path, arrays[path])


def _keys_of(content: Any, above: Where) -> Iterator[Where]:
    for name, value in content.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _keys_of(value, (*above, name))


def readable(tables: Mapping[str, Any], depth: int = 2) -> dict[str, dict[str, str]]:
    """Return settings as people compare them: the name of each table (`libraries.NL-070288`) -> its values.

    `depth`: how many names a table has; what is deeper is a value.
    """
    if depth == 0:
        return {"": {name: _text_of(value) for name, value in sorted(tables.items())}}
    found: dict[str, dict[str, str]] = {}
    for name, below in tables.items():
        if isinstance(below, dict):
            for path, values in readable(below, depth - 1).items():
                found[f"{name}.{path}".rstrip(".")] = values
    return found


def _text_of(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return ", ".join(f"{name} = {_text_of(item)}" for name, item in sorted(value.items()))
        case list():
            return ", ".join(_text_of(item) for item in value)
    return str(value)
