"""How the story is told on a terminal, and how it notices that something came out wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

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
