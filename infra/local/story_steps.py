"""Parts of the story's steps: calls to the services, the transcript, and the dates that the rules require."""

import asyncio
import calendar
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table
from rich.text import Text


class CameOutWrong(Exception):
    """A step of the story had a result that the rules do not allow."""


class Transcript:
    """Prints the story: scenes, actions, screens, and results, which are checked before they are printed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.checked = 0

    def scene(self, title: str) -> None:
        self._console.print()
        self._console.print(Rule(Text(title, style="bold"), align="left", style="cyan"))

    def says(self, who: str, what: str) -> None:
        """Print an action of a clerk, a patron, a library or the system."""
        self._console.print(f"  [cyan]{escape(who):<12}[/] {escape(what)}")

    def shows(self, what: str, style: str = "") -> None:
        """Print a line of the counter's screen."""
        self._console.print(Text(f"               │ {what}", style=style))

    def expect(self, what: str, got: object, expected: object, detail: str | None = None) -> None:
        """Check one result and print it, or `detail` instead. Raises CameOutWrong if it is not expected."""
        if got != expected:
            raise CameOutWrong(f"{what}: expected {expected!r}, got {got!r}")
        self.checked += 1
        words = str(got) if detail is None else detail
        self._console.print(f"  [green]✓[/] {escape(what)}: [bold]{escape(words)}[/]")

    def contributions(
        self, rows: Sequence[Mapping[str, Any]], expected: Sequence[tuple[str, str, str]]
    ) -> None:
        """Print the contribution rows as the counter shows them; check begin, end and status of all (R15)."""
        table = Table(box=None, padding=(0, 1), header_style="dim")
        for heading in ("   ", "Instantie", "Begin", "Eind", "Abonnement", "Status", "Kosten", "Sector"):
            table.add_column(heading, no_wrap=True)
        for row in rows:
            table.add_row(
                "   ",
                f"{row['organisation']} / {row['branch']}",
                dutch_date(row["begin"]),
                dutch_date(row["end"]),
                row["subscription"],
                Text(row["status"], style="red" if row["status"] == "Ongeldig" else "green"),
                row["cost"].replace(".", ","),
                row["sector"],
            )
        self._console.print(table)
        self.expect(
            "contribution rows, newest first",
            [(row["begin"], row["end"], row["status"]) for row in rows],
            list(expected),
            detail="exactly as the rules require",
        )


def dutch_date(iso: str | None) -> str:
    """Return day-month-year, as on the counter's screens; '' for an open end."""
    return "-".join(reversed(iso.split("-"))) if iso else ""


PATIENCE = 15.0  # seconds for a message to reach the other service

Answer = dict[str, Any]


def client_of(stack: Mapping[str, Any], service: str, token: str) -> httpx2.AsyncClient:
    """Return a client of one service's API, with the token of that name."""
    return httpx2.AsyncClient(
        base_url=stack[f"{service}_url"],
        headers={"Authorization": f"Bearer {stack['tokens'][token]}"},
        timeout=10,
    )


def answer_of(response: httpx2.Response) -> Answer:
    """Return the body of a successful response. Raises CameOutWrong with the text of any other."""
    if response.is_error:
        request = response.request
        raise CameOutWrong(
            f"{request.method} {request.url.path} returned {response.status_code}: {response.text}"
        )
    return dict(response.json())


async def until(ask: Callable[[], Awaitable[Answer | None]], what: str) -> Answer:
    """Call `ask` until its result is not None; return that. Raises CameOutWrong after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while (answer := await ask()) is None:
        if time.monotonic() > deadline:
            raise CameOutWrong(f"waited {PATIENCE:.0f} s for {what}")
        await asyncio.sleep(0.05)
    return answer


@contextmanager
def membership_ended(patrons_file: Path, card: str, status: str = "expired") -> Iterator[None]:
    """End a membership inside the block, by editing the home library's file as a user can.

    `status`: the patron's state inside the block, see patrons.Status.
    """
    before = patrons_file.read_text(encoding="utf-8")
    patrons = json.loads(before)
    ended = patrons.get(card, {}) | {"status": status}
    try:
        _replace(patrons_file, json.dumps(patrons | {card: ended}, indent=2, ensure_ascii=False))
        yield
    finally:
        _replace(patrons_file, before)


@contextmanager
def libraries_merged(home_libraries: Path, gone: str, into: str) -> Iterator[None]:
    """Make one library part of another inside the block, by editing the file as an operator does (R3)."""
    before = home_libraries.read_text(encoding="utf-8")
    tables = {table.partition("]")[0]: table for table in before.split("[libraries.")[1:]}
    del tables[gone]
    tables[into] = tables[into].rstrip() + f'\naliases = ["{gone}"]\n\n'
    try:
        _replace(home_libraries, "".join(f"[libraries.{table}" for table in tables.values()))
        yield
    finally:
        _replace(home_libraries, before)


def _replace(path: Path, text: str) -> None:
    """Replace the file at once: the home library reads it for every request, and must not read a part."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


MONTHS = [
    "Januari",
    "Februari",
    "Maart",
    "April",
    "Mei",
    "Juni",
    "Juli",
    "Augustus",
    "September",
    "Oktober",
    "November",
    "December",
]


def three_months_after(day: date) -> date:
    """Return the day three calendar months later, or the last day of that month if it is shorter (R6)."""
    year, month = divmod(day.year * 12 + day.month - 1 + 3, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def last_of_the_month(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def header_of(end: date) -> str:
    """Return the header of a valid guest: the month of the row's end date (R16)."""
    return f"Normaal {MONTHS[end.month - 1]} {end.year}"


def rows_after_expiry(today: date) -> list[tuple[str, str, str]]:
    """Return the contribution rows of a guest who registered and expired today, newest first (R15).

    The row of the expiry keeps the old end date; the row of the registration is empty.
    """
    return [
        (today.isoformat(), three_months_after(today).isoformat(), "Ongeldig"),
        (today.isoformat(), _eve(today), "Normaal"),
    ]


def rows_after_reregistration(today: date) -> list[tuple[str, str, str]]:
    """Return the contribution rows of a guest who registered, expired and re-registered today (R15).

    A new row begins today; the row of the expiry ends yesterday.
    """
    return [
        (today.isoformat(), three_months_after(today).isoformat(), "Normaal"),
        (today.isoformat(), _eve(today), "Ongeldig"),
        (today.isoformat(), _eve(today), "Normaal"),
    ]


def _eve(day: date) -> str:
    return (day - timedelta(days=1)).isoformat()
