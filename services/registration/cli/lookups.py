"""The commands `registration lookups list|export`: who looked up which person. Reading is recorded (R22)."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO
from uuid import UUID, uuid4

import typer

from registration.service_handle import settings_of_command
from shared.cli.console import echo, show_json, show_records
from shared.cli.running import By, Failed, in_loop, name_of
from shared.cli.service_handle import database_of

if TYPE_CHECKING:
    from registration.adapters.lookups import LookupFilter, PostgresLookups, RecordedLookup
    from registration.application.dependencies import Context

lookups = typer.Typer(
    no_args_is_help=True,
    help="Who looked up which person, when."
    "\n\nExample: registration lookups list --organisation 1001 --what 0990139305",
)
Format = Literal["csv", "jsonl"]
Organisation = Annotated[str | None, typer.Option(help="Only of this organisation, such as 1001.")]
Subject = Annotated[str | None, typer.Option(help="Only of this clerk: the `sub` of the token.")]
What = Annotated[
    str | None,
    typer.Option(
        help="Only of exactly this card number, username, search or found account id, by a keyed hash."
    ),
]
Guest = Annotated[UUID | None, typer.Option(metavar="GUEST_ID", help="Only where this guest was found.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The first day.")]
LastDay = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@lookups.command("list", epilog="Example: registration lookups list --organisation 1001 --since 2026-11-01")
def list_newest(
    *,
    organisation: Organisation = None,
    subject: Subject = None,
    what: What = None,
    guest: Guest = None,
    since: Day = None,
    until: LastDay = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    by: By = None,
    as_json: Json = False,
) -> None:
    """List the newest look-ups of people, the newest first."""
    from registration.adapters.lookups import LookupFilter, as_record  # noqa: PLC0415

    wanted = LookupFilter(organisation, subject, what, guest, _day(since), _day(until))
    found = in_loop(_newest(wanted, limit, name_of(by)))
    show_records([as_record(lookup) for lookup in found], as_json=as_json, empty="No look-up fits.")


@lookups.command("export", epilog="Example: registration lookups export lookups.csv --organisation 1001")
def export(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file; `-` is standard output.")],
    form: Annotated[Format, typer.Option("--format", help="csv, or jsonl: one JSON object a line.")] = "csv",
    organisation: Organisation = None,
    subject: Subject = None,
    what: What = None,
    guest: Guest = None,
    since: Day = None,
    until: LastDay = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Write all look-ups to a file, the oldest first."""
    from registration.adapters.lookups import LookupFilter  # noqa: PLC0415

    wanted = LookupFilter(organisation, subject, what, guest, _day(since), _day(until))
    count = in_loop(_export(wanted, file, form, name_of(by)))
    if str(file) == "-":
        return
    show_json({"lookups": count}) if as_json else echo(f"{count} look-ups written to {file}.")


async def _newest(wanted: LookupFilter, limit: int, by: str) -> list[RecordedLookup]:
    async with _opened() as recorded:
        return await recorded.newest(wanted, limit, _context(wanted, by))


async def _export(wanted: LookupFilter, file: Path, form: Format, by: str) -> int:
    from registration.adapters.lookups import lines_of  # noqa: PLC0415

    count = -1 if form == "csv" else 0  # the heading
    with _output(file) as output:
        async with _opened() as recorded:
            async for line in lines_of(recorded.all_in_order(wanted, _context(wanted, by)), form):
                output.write(line)
                count += 1
    return count


@contextmanager
def _output(file: Path) -> Iterator[TextIO]:
    """Open the new file; `-` is standard output. Raises Failed."""
    if str(file) == "-":
        yield sys.stdout
        return
    try:
        output = file.open("x", encoding="utf-8", newline="")
    except FileExistsError:
        raise Failed(f"{file} exists already: name a new file.") from None
    with output:
        yield output


@asynccontextmanager
async def _opened() -> AsyncIterator[PostgresLookups]:
    from registration.bootstrap import lookups_of  # noqa: PLC0415

    settings = settings_of_command()
    async with database_of(settings) as pool:
        yield lookups_of(settings, pool)


def _context(wanted: LookupFilter, by: str) -> Context:
    from registration.application.dependencies import Context  # noqa: PLC0415
    from shared.event_log import Metadata  # noqa: PLC0415

    return Context(wanted.organisation or ALL_ORGANISATIONS, Metadata(by, uuid4()))


ALL_ORGANISATIONS = "*"


def _day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None
