"""The command `registration guests import`: guests of before, from another system (R29)."""

from __future__ import annotations

import asyncio
import csv
import logging
import re
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO
from uuid import uuid4

import typer

from registration.service_handle import settings_of_command
from shared.cli.console import echo, progress_bar, show_json
from shared.cli.running import By, Failed, in_loop, name_of

if TYPE_CHECKING:
    from registration.adapters.guest_file import Format
    from registration.application.import_guests import Counts, Finding
    from registration.bootstrap import Service
    from registration.settings import Settings

SOURCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MOST_SHOWN = 20
VIEW_SECONDS = 60.0
"""So long the command waits for a view that does not move, before home libraries are asked."""

EXAMPLE = (
    "Example: registration guests import guests.csv --organisation 1001 --source old-system --check"
    " --report report.csv"
)


File = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="CSV or JSON Lines: docs/import-guests.md")
]
Organisation = Annotated[str, typer.Option(help="The organisation whose guests these are, such as 1001.")]
Source = Annotated[
    str, typer.Option(help="The system that they come from, always the same: a-z, 0-9, `.`, `_`, `-`.")
]
Form = Annotated[str | None, typer.Option("--format", help="csv or jsonl; by the suffix when left out.")]
Check = Annotated[bool, typer.Option("--check", help="Only show what would happen; write nothing.")]
SkipMistakes = Annotated[
    bool, typer.Option("--skip-mistakes", help="Import the other lines although some have mistakes.")
]
Report = Annotated[Path | None, typer.Option(help="Write all findings to this new CSV file.")]
AskHome = Annotated[
    bool, typer.Option("--ask-home", help="Then run the nightly check, which asks the home libraries.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def import_(
    *,
    file: File,
    organisation: Organisation,
    source: Source,
    form: Form = None,
    check: Check = False,
    skip_mistakes: SkipMistakes = False,
    report: Report = None,
    ask_home: AskHome = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Import guests of before. The file is checked first: with a mistake in it nothing is written.

    Safe to repeat, also after an interruption: who was imported is not imported again.
    """
    who = name_of(by)
    if form not in {None, "csv", "jsonl"}:
        raise typer.BadParameter("csv or jsonl", param_hint="--format")
    if SOURCE.fullmatch(source) is None:
        raise typer.BadParameter("1 to 64 of a-z, 0-9, `.`, `_`, `-`", param_hint="--source")
    asked = _Asked(file, organisation, source, form, check, skip_mistakes, who)
    settings = settings_of_command()
    with ExitStack() as opened:
        findings = _Findings(opened.enter_context(_new(report)) if report else None)
        counts = in_loop(_import(settings, asked, findings, ask_home=ask_home and not check))
    _show(counts, findings, check=check, as_json=as_json)
    if check and counts.mistakes:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the operator asked for."""

    file: Path
    organisation: str
    source: str
    form: str | None
    check: bool
    skip_mistakes: bool
    by: str


@dataclass(slots=True)
class _Findings:
    """The findings: the first ones for the terminal, all of them in the report."""

    report: TextIO | None
    first: list[Finding] = field(default_factory=list)
    total: int = 0

    def begin(self) -> None:
        """Forget all: the lines are read again."""
        self.first.clear()
        self.total = 0
        if self.report is not None:
            self.report.seek(0)
            self.report.truncate()
            csv.writer(self.report).writerow(("line", "kind", "text"))

    def __call__(self, finding: Finding) -> None:
        """Keep one finding."""
        self.total += 1
        if len(self.first) < MOST_SHOWN:
            self.first.append(finding)
        if self.report is not None:
            csv.writer(self.report).writerow(finding)


def _new(report: Path) -> TextIO:
    try:
        return report.open("x", encoding="utf-8", newline="")
    except FileExistsError:
        raise Failed(f"{report} exists already: name a new file.") from None


async def _import(settings: Settings, asked: _Asked, findings: _Findings, *, ask_home: bool) -> Counts:
    from registration.bootstrap import open_service  # noqa: PLC0415

    logging.root.setLevel(logging.WARNING)  # the counts say what was done
    async with open_service(settings) as service:
        counts = await _read(service, asked, findings, write=False)
        if asked.check:
            return counts
        if counts.mistakes and not asked.skip_mistakes:
            _show(counts, findings, check=True, as_json=False)
            raise Failed(
                f"{counts.mistakes} lines have mistakes. Nothing was imported: correct them, or pass"
                " --skip-mistakes."
            )
        counts = await _read(service, asked, findings, write=True, total=counts.lines)
        if ask_home:
            await _until_due(service, counts.position)
    if ask_home:
        await _ask_home(settings, asked.by)
    return counts


async def _read(
    service: Service, asked: _Asked, findings: _Findings, *, write: bool, total: int | None = None
) -> Counts:
    """Read the whole file once. Raises Failed for a file or an organisation that cannot be used."""
    from registration.adapters.guest_file import UnreadableFile, format_of, read_guest_file  # noqa: PLC0415
    from registration.adapters.imported_guests import PostgresImportedGuests, seen_on_disk  # noqa: PLC0415
    from registration.application.dependencies import Context  # noqa: PLC0415
    from registration.application.import_guests import ImportGuests, import_guests  # noqa: PLC0415
    from registration.domain.errors import UnknownOrganisation  # noqa: PLC0415
    from shared.event_log import Metadata  # noqa: PLC0415

    form: Format | None = "csv" if asked.form == "csv" else "jsonl" if asked.form == "jsonl" else None
    context = Context(asked.organisation, Metadata(asked.by, uuid4()))
    findings.begin()
    try:
        read = read_guest_file(asked.file, format_of(asked.file, form))
        command = ImportGuests(asked.source, read, write)
        with seen_on_disk() as seen, progress_bar(_doing(write), total, "guests") as on_progress:
            return await import_guests(
                *(command, context, PostgresImportedGuests(service.pool), seen, service.deps),
                report=findings,
                on_progress=on_progress,
            )
    except UnreadableFile as error:
        raise Failed(f"{asked.file}: {error}. Nothing was imported.") from None
    except UnknownOrganisation:
        raise Failed(f"There is no organisation {asked.organisation} in the settings.") from None


def _doing(write: bool) -> str:
    return "importing" if write else "checking"


async def _until_due(service: Service, position: int) -> None:
    """Wait until the nightly check finds the imported guests. Raises Failed when its view does not move."""
    last, waited = -1, 0.0
    while waited < VIEW_SECONDS:
        at = await service.pool.fetchval("SELECT position FROM projections WHERE name = 'terms_due'")
        if at >= position:
            return
        waited = 0.0 if at > last else waited + 0.2
        last = at
        await asyncio.sleep(0.2)
    raise Failed(
        "The guests are imported, but home libraries were not asked: the view terms_due does not move."
        " Start `registration work`, then run `registration nightly`."
    )


async def _ask_home(settings: Settings, by: str) -> None:
    from registration.cli.nightly import run_now, show_report  # noqa: PLC0415

    show_report(await run_now(settings, by), as_json=False)


def _show(counts: Counts, findings: _Findings, *, check: bool, as_json: bool) -> None:
    named = asdict(counts)
    del named["position"]
    if as_json:
        show_json(
            {"checked_only": check, **named, "findings": [finding._asdict() for finding in findings.first]}
        )
        return
    for finding in findings.first:
        echo(f"line {finding.line}: {finding.kind}: {finding.text}")
    if findings.total > len(findings.first):
        where = "in the report" if findings.report else "with --report FILE"
        echo(f"… and {findings.total - len(findings.first)} more, {where}")
    echo(
        f"{counts.lines} lines: {counts.imported} guests {'can be ' if check else ''}imported,"
        f" {counts.unchanged} imported before, {counts.differs} imported before with other values,"
        f" {counts.already_here} here already, {counts.erased} erased since, {counts.mistakes} with mistakes."
    )
