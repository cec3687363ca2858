"""What differs between two readings of the files, as people read it. Files of settings hold no secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Readable = Mapping[str, Mapping[str, str]]
"""The name of each table, such as `libraries.NL-070288`, and its values (`toml_file.readable`)."""
LONGEST_VALUE = 200
"""In characters; the rest of a longer value is not shown."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One table that came or went, or one value in a table that changed. None: not set."""

    kind: Literal["added", "removed", "changed"]
    where: str
    before: str | None = None
    after: str | None = None

    def __str__(self) -> str:
        if self.kind != "changed":
            return f"{self.kind} {self.where}"
        return f"changed {self.where}: {_shown(self.before)} → {_shown(self.after)}"


def differences(before: Readable, after: Readable) -> list[Difference]:
    """Return what changed, by the name of the table."""
    found: list[Difference] = []
    for table in sorted({*before, *after}):
        if table not in before:
            found.append(Difference("added", table))
        elif table not in after:
            found.append(Difference("removed", table))
        else:
            found += _changed(table, before[table], after[table])
    return found


def _changed(table: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield Difference("changed", f"{table}.{name}", _cut(old), _cut(new))


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "…"


def _shown(value: str | None) -> str:
    return "–" if value is None else value or '""'
