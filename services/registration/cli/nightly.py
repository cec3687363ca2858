"""The command `registration nightly`: run the nightly check and show its report."""

from __future__ import annotations

import logging
from collections.abc import Sequence

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

COLOURS = {
    "unchanged": "dim",
    "confirmed": "green",
    "reinstated": "green",
    "expired": "red",
    "suspended": "red",
    "stale": "yellow",
    "not_found": "yellow",
    "failed": "yellow",
    "other_person": "yellow",
    "card_taken": "yellow",
}


async def run_now(settings: Settings, by: str) -> NightlyReport:
    """Check all guests that are due and have no reply of today yet. Raises Failed if a check is running."""
    logging.root.setLevel(logging.WARNING)  # the report says what was done
    async with open_service(settings) as service:
        nightly = NightlyCheck(day_of(service.deps.clock.now()))
        due = sum((await service.nightly_checks.due(nightly)).values())
        with progress_bar("asking home libraries", due, "guests") as on_progress:
            report = await run_nightly_check(
                nightly,
                by,
                service.nightly_checks,
                service.leases,
                service.deps,
                on_progress=on_progress,
            )
    if report is None:
        raise Failed("A nightly check is already running. `registration nightly --last` shows its progress.")
    return report


async def read_last(settings: Settings, nights: int) -> Sequence[NightlyReport]:
    """Return the reports of so many nights, the newest first. Raises Failed if there was none."""
    async with open_service(settings) as service:
        reports = await service.nightly_checks.recent(nights)
    if not reports:
        raise Failed("There was no nightly check yet. `registration nightly` runs one now.")
    return reports


def show_report(report: NightlyReport, *, as_json: bool) -> None:
    """Print the report: as JSON for scripts, as a table for people."""
    if as_json:
        show_json(report.as_dict())
        return
    console = Console(highlight=False)
    console.print(_table(report))
    console.print(_summary(report))


def _table(report: NightlyReport) -> Table:
    table = Table(title=f"Nightly check of {report.nightly.day:%d-%m-%Y}", title_justify="left", box=None)
    table.add_column("home library")
    table.add_column("asked", justify="right")
    for name in COLOURS:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("pending", justify="right")
    table.add_column("reason")
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


def _summary(report: NightlyReport) -> str:
    asked = sum(library.tally.asked for library in report.libraries)
    pending = [library for library in report.libraries if library.left]
    if report.ended_at is None:
        return f"[yellow]Running, or interrupted:[/] {asked:,} guests checked so far."
    if not pending:
        return f"[green]Done:[/] {asked:,} guests checked, none pending."
    guests = sum(library.left for library in pending)
    return (
        f"[red]{guests:,} guests of {len(pending)} libraries are without a reply.[/] Their terms are kept. "
        "Run the command again later: it asks only about these guests."
    )
