"""What commands print: tables for people, JSON for scripts, progress bars on stderr.

No value can drive the terminal: what cannot be seen is printed as an escape.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.kernel.text import visible

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID

Cell = str | Text
"""A value as it is; or our own words with a colour."""


def show_json(value: object) -> None:
    """Print one line of JSON on stdout; dates and UUIDs as text."""
    sys.stdout.write(as_json_text(value) + "\n")


def as_json_text(value: object) -> str:
    """Return a value as JSON, on one line. What cannot be seen is escaped, which means the same in JSON."""
    import orjson  # noqa: PLC0415

    text = orjson.dumps(value, default=str).decode()
    return (
        text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    )


def shown(text: str) -> str:
    """Return text for a terminal. Line ends stay: they are our own."""
    return "\n".join(map(visible, text.split("\n")))


def echo(text: str) -> None:
    """Print a line on stdout."""
    sys.stdout.write(f"{shown(text)}\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], title: str | None = None) -> None:
    """Print a table on stdout; not cut off when stdout is not a terminal."""
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    table = Table(
        *columns, title=title, title_justify="left", show_header=any(columns), box=None, pad_edge=False
    )
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(shown(cell)) for cell in row))
    console.print(table)


def show_pairs(values: Mapping[str, Any]) -> None:
    """Print names and values, one pair per line."""
    show_table(("", ""), [(name, "" if value is None else str(value)) for name, value in values.items()])


def show_records(records: Sequence[Mapping[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print rows of a query: a JSON list, or a table with the columns' names; `empty` when there is none."""
    if as_json:
        show_json([dict(record) for record in records])
    elif records:
        columns = [name.replace("_", " ") for name in records[0].keys()]  # noqa: SIM118 - a record's iteration gives values
        show_table(columns, [tuple(_cell(value) for value in record.values()) for record in records])
    else:
        echo(empty)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return "" if value is None else str(value)


class ProgressUpdate:
    """Call it with the number of items done since the last call."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress = progress
        self._task = task

    def __call__(self, more: int) -> None:
        """Add to the items done."""
        self._progress.advance(self._task, more)

    def expect(self, total: int) -> None:
        """Set the total, when it becomes known later."""
        self._progress.update(self._task, total=total)


@contextmanager
def progress_bar(what: str, total: int | None = None, unit: str = "lines") -> Iterator[ProgressUpdate]:
    """Show a progress bar on stderr if it is a terminal: items done, `unit`s per second, remaining time.

    Yields a function to call with the number of items done. `total` None: not known yet.
    """
    from rich import progress as rich  # noqa: PLC0415 - slow: `--help` must not wait for it

    class RateColumn(rich.ProgressColumn):
        """Shows items per second."""

        def render(self, task: "Task") -> Text:
            """Return the recent speed; at the end, the speed of the whole run."""
            return Text(_rate(task, unit), style="progress.data.speed")

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        RateColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("ETA", style="progress.remaining"),
        rich.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with rich.Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        yield ProgressUpdate(progress, progress.add_task(what, total=total))


def _rate(task: "Task", unit: str) -> str:
    speed = task.finished_speed or task.speed
    rate = "–" if speed is None else f"{speed:,.0f}"
    return f"{rate} {unit}/s"
