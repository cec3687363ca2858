"""The commands `registration sessions …`: who is signed in at the counter's pages, and signing them out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registration.service_handle import settings_of_command
from shared.cli.console import echo, show_json, show_records
from shared.cli.running import in_loop
from shared.cli.service_handle import database_of

if TYPE_CHECKING:
    from registration.adapters.staff_sessions import StaffSessions

sessions = typer.Typer(
    no_args_is_help=True,
    help="The sessions of staff at the counter's pages.\n\nExample: registration sessions list",
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


@sessions.command("list", epilog="Example: registration sessions list --json")
def list_sessions(as_json: Json = False) -> None:
    """List the staff members who are signed in, and when each session ends by itself."""
    show_records(in_loop(_list()), as_json=as_json, empty="Nobody is signed in.")


@sessions.command(epilog="Example: registration sessions end m.visser")
def end(
    subject: Annotated[str, typer.Argument(help="The staff member, as `sessions list` shows them.")],
    as_json: Json = False,
) -> None:
    """End all sessions of one staff member at once. They may sign in again if they still have an account."""
    ended = in_loop(_end(subject))
    if as_json:
        show_json({"subject": subject, "ended": ended})
    else:
        echo(f"Sessions of {subject} that were ended: {ended}.")


async def _list() -> Any:
    async with _stored() as stored:
        return await stored.all_open()


async def _end(subject: str) -> int:
    async with _stored() as stored:
        return await stored.end_all(subject)


@asynccontextmanager
async def _stored() -> AsyncIterator[StaffSessions]:
    from registration.adapters.staff_sessions import StaffSessions  # noqa: PLC0415
    from registration.application.dependencies import SystemClock  # noqa: PLC0415

    async with database_of(settings_of_command()) as pool:
        yield StaffSessions(pool, SystemClock())
