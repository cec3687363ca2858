"""What commands print: tables for people, JSON for scripts."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def show_json(value: object) -> None:
    """One line of JSON on stdout; dates and UUIDs as text."""
    import orjson  # noqa: PLC0415

    sys.stdout.write(orjson.dumps(value, default=str).decode() + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """A table on stdout; not cut off when stdout is no terminal."""
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def show_pairs(values: Mapping[str, Any]) -> None:
    """Names and values, a line each."""
    show_table(("", ""), [(name, "" if value is None else str(value)) for name, value in values.items()])
