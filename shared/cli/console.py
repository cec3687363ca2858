"""What commands print: tables for people, JSON for scripts, progress bars on stderr."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text


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


class Done:
    """Is told how many more are done."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def __call__(self, more: int) -> None:
        """So many more are done."""
        self._progress.advance(self._task, more)

    def expect(self, total: int) -> None:
        """So many will it be in all, which is known only now."""
        self._progress.update(self._task, total=total)


class RateColumn(ProgressColumn):
    """How many a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """See `ProgressColumn.render`: the speed of late, and at the end that of the whole."""
        speed = task.finished_speed or task.speed
        rate = "–" if speed is None else f"{speed:,.0f}"
        return Text(f"{rate} {self._unit}/s", style="progress.data.speed")


@contextmanager
def progress_bar(what: str, total: int | None = None, unit: str = "lines") -> Iterator[Done]:
    """Gives a function that is told how many more are done. `total` None: how many there are is not known.

    On a terminal it shows how far it is, how fast (in `unit`s a second), and how long it will still take.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(unit),
        TimeElapsedColumn(),
        TextColumn("ETA", style="progress.remaining"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        yield Done(progress, progress.add_task(what, total=total))
