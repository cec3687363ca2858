"""What `registration nightly` does and shows."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from registration.application.nightly_check import run_nightly_check
from registration.application.nightly_report import LibraryReport, NightlyReport
from registration.bootstrap import open_service
from registration.domain.term_check import NightlyCheck
from registration.settings import Settings
from shared.cli.console import progress_bar, show_json
from shared.cli.running import Failed
from shared.kernel.amsterdam import day_of
from shared.platform.leases import Leases

COLOURS = {
    "unchanged": "dim",
    "confirmed": "green",
    "reinstated": "green",
    "expired": "red",
    "suspended": "red",
    "stale": "yellow",
    "not_found": "yellow",
    "failed": "yellow",
}


async def run_now(settings: Settings) -> NightlyReport:
    """Ask about everybody who is due and was not answered for today."""
    async with open_service(settings) as service:
        nightly = NightlyCheck(day_of(service.deps.clock.now()))
        due = sum((await service.nightly_checks.due(nightly)).values())
        with progress_bar("asking home libraries", due, "guests") as told:
            report = await run_nightly_check(
                nightly, "operator", service.nightly_checks, Leases(service.pool), service.deps, told=told
            )
    if report is None:
        raise Failed("A nightly check is running already: `registration nightly --last` shows how far it is.")
    return report


async def read_last(settings: Settings) -> NightlyReport:
    """The last night that was."""
    async with open_service(settings) as service:
        report = await service.nightly_checks.last()
    if report is None:
        raise Failed("There was no nightly check yet: `registration nightly` runs one now.")
    return report


def show_report(report: NightlyReport, *, as_json: bool) -> None:
    """A night, for a script or for a person."""
    if as_json:
        show_json(report_as_json(report))
        return
    console = Console(highlight=False)
    console.print(_table(report))
    console.print(_last_word(report))


def report_as_json(report: NightlyReport) -> dict[str, Any]:
    """Dates as ISO text; libraries by ISIL."""
    return {
        "night": report.nightly.day,
        "started_at": report.started_at.isoformat(),
        "ended_at": report.ended_at.isoformat() if report.ended_at else None,
        "complete": report.is_complete,
        "libraries": [
            {
                "home_isil": library.home_isil,
                **library.tally.as_dict(),
                "left": library.left,
                "problem": library.problem,
            }
            for library in report.libraries
        ],
    }


def _table(report: NightlyReport) -> Table:
    table = Table(title=f"Night of {report.nightly.day:%d-%m-%Y}", title_justify="left", box=None)
    table.add_column("home library")
    table.add_column("asked", justify="right")
    for name in COLOURS:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("left", justify="right")
    table.add_column("why")
    for library in report.libraries:
        table.add_row(*_row(library))
    return table


def _row(library: LibraryReport) -> list[str]:
    counts = library.tally.as_dict()
    left = f"[bold red]{library.left:,}[/]" if library.left else ""
    return [
        library.home_isil,
        f"{counts['asked']:,}",
        *(f"[{colour}]{counts[name]:,}[/]" if counts[name] else "" for name, colour in COLOURS.items()),
        left,
        library.problem or "",
    ]


def _last_word(report: NightlyReport) -> str:
    asked = sum(library.tally.asked for library in report.libraries)
    left = [library for library in report.libraries if library.left]
    if report.ended_at is None:
        return f"[yellow]Under way, or broken off:[/] {asked:,} asked so far."
    if not left:
        return f"[green]Done:[/] {asked:,} asked, nobody is left."
    guests = sum(library.left for library in left)
    return (
        f"[red]{guests:,} guests of {len(left)} libraries got no answer.[/] Their terms are kept. "
        "Run it again later tonight: it asks only about them."
    )
