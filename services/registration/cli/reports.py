"""The commands `registration reports …`: counts from the read models. Nothing personal is in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from registration.service_handle import settings_of_command
from shared.cli.console import show_records
from shared.cli.running import in_loop
from shared.cli.service_handle import database_of

reports = typer.Typer(
    no_args_is_help=True,
    help="Counts of guests, for bookkeeping."
    "\n\nExample: registration reports contributions 1001 --on 2026-12-31",
)


@reports.command(epilog="Example: registration reports contributions 1001 --on 2026-12-31")
def contributions(
    organisation: Annotated[str, typer.Argument(help="The organisation, such as 1001.")],
    on: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day; today when left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Count the guests with a contribution row on a day, by branch, subscription and status."""
    rows = in_loop(_running_on(organisation, on))
    show_records(
        rows,
        as_json=as_json,
        empty=f"No guest of organisation {organisation} had a contribution row on that day.",
    )


@reports.callback()
def _group() -> None:
    """Keep `reports` a group of commands, also while it has one."""


async def _running_on(organisation: str, on: datetime | None) -> Sequence[Any]:
    from registration.read_models.contributions import count_running_on  # noqa: PLC0415
    from shared.kernel import amsterdam  # noqa: PLC0415

    async with database_of(settings_of_command()) as pool:
        return await count_running_on(pool, organisation, on.date() if on else amsterdam.today())
