"""The steps of the story: calls to the services, the transcript, and the dates that must come out."""

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

import httpx
from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table
from rich.text import Text


class CameOutWrong(Exception):
    """A step of the story did not come out as the rules say."""


class Transcript:
    """Prints scenes, what is asked and what is answered; every `expect` is checked before it is shown."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.checked = 0

    def scene(self, title: str) -> None:
        self._console.print()
        self._console.print(Rule(Text(title, style="bold"), align="left", style="cyan"))

    def says(self, who: str, what: str) -> None:
        """Somebody does or says something."""
        self._console.print(f"  [cyan]{escape(who):<11}[/] {escape(what)}")

    def shows(self, what: str, style: str = "") -> None:
        """What stands on the screen."""
        self._console.print(Text(f"              │ {what}", style=style))

    def expect(self, what: str, got: object, expected: object, told: str | None = None) -> None:
        """Check one outcome and show it, in other words when `told`; raises CameOutWrong."""
        if got != expected:
            raise CameOutWrong(f"{what}: expected {expected!r}, got {got!r}")
        self.checked += 1
        words = str(got) if told is None else told
        self._console.print(f"  [green]✓[/] {escape(what)}: [bold]{escape(words)}[/]")

    def contributions(
        self, rows: Sequence[Mapping[str, Any]], expected: Sequence[tuple[str, str, str]]
    ) -> None:
        """Show the contribution rows as the counter does, and check begin, end and status of each (R15)."""
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
            told="to the letter",
        )


def dutch_date(iso: str | None) -> str:
    """Day-month-year, as on the counter's screens; an open end is empty."""
    return "-".join(reversed(iso.split("-"))) if iso else ""


PATIENCE = 15.0  # seconds, for what has to travel from one service to the other

Answer = dict[str, Any]


def client_of(stack: Mapping[str, Any], service: str, token: str) -> httpx.AsyncClient:
    """A client of one service's API, signed in with the token of that name."""
    return httpx.AsyncClient(
        base_url=stack[f"{service}_url"],
        headers={"Authorization": f"Bearer {stack['tokens'][token]}"},
        timeout=10,
    )


def answer_of(response: httpx.Response) -> Answer:
    """The body of a success; raises CameOutWrong with the problem's own words otherwise."""
    if response.is_error:
        request = response.request
        raise CameOutWrong(
            f"{request.method} {request.url.path} answered {response.status_code}: {response.text}"
        )
    return dict(response.json())


async def until(ask: Callable[[], Awaitable[Answer | None]]) -> Answer:
    """What `ask` answers as soon as it is not None; raises CameOutWrong when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while (answer := await ask()) is None:
        if time.monotonic() > deadline:
            raise CameOutWrong(f"waited {PATIENCE:.0f} s for what did not come")
        await asyncio.sleep(0.05)
    return answer


@contextmanager
def membership_ended(patrons_file: Path, card: str, status: str = "expired") -> Iterator[None]:
    """End the membership at the home library inside the block, as anyone could in its file.

    `status`: how the patron stands there instead, see patrons.Status.
    """
    before = patrons_file.read_text(encoding="utf-8")
    patrons = json.loads(before)
    ended = patrons.get(card, SOMEBODY) | {"status": status}
    try:
        _replace(patrons_file, json.dumps(patrons | {card: ended}, indent=2, ensure_ascii=False))
        yield
    finally:
        _replace(patrons_file, before)


def _replace(path: Path, text: str) -> None:
    """The home library reads the file for every question: it must never see half of it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    os.replace(fresh, path)


SOMEBODY = {
    "name": "A. de Boer",
    "birth_date": "1980-01-01",
    "address": "Dorpsstraat 1, 9351 AA Leek",
    "email": "a.deboer@example.nl",
    "chip": True,
    "ends_on": None,
    "answers_as": None,
}

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
    """R6: three calendar months later, the month's last day when it has no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + 3, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def last_of_the_month(day: date) -> date:
    return day.replace(day=calendar.monthrange(day.year, day.month)[1])


def header_of(end: date) -> str:
    """R16: the month of the row's end date."""
    return f"Normaal {MONTHS[end.month - 1]} {end.year}"


def rows_after_expiry(today: date) -> list[tuple[str, str, str]]:
    """R15, registered and expired on the same day: the expiry's row keeps the end, the first one is empty."""
    return [
        (today.isoformat(), three_months_after(today).isoformat(), "Ongeldig"),
        (today.isoformat(), _eve(today), "Normaal"),
    ]


def rows_after_reregistration(today: date) -> list[tuple[str, str, str]]:
    """R15, registered again on that day too: a new row from today, the Ongeldig one closed the day before."""
    return [
        (today.isoformat(), three_months_after(today).isoformat(), "Normaal"),
        (today.isoformat(), _eve(today), "Ongeldig"),
        (today.isoformat(), _eve(today), "Normaal"),
    ]


def _eve(day: date) -> str:
    return (day - timedelta(days=1)).isoformat()
