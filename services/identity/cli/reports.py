"""The commands `identity reports …`: what the read models say, for operators. Nothing personal is in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from identity.service_handle import settings_of_command
from shared.cli.console import show_records
from shared.cli.running import in_loop
from shared.cli.service_handle import database_of

if TYPE_CHECKING:
    import asyncpg

reports = typer.Typer(
    no_args_is_help=True,
    help="Accounts, links and first logins.\n\nExample: identity reports links --state too_late",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most this many rows.")]
Organisation = Annotated[str | None, typer.Option(help="Only this organisation, such as 1001.")]


class LinkState(StrEnum):
    """The states of a link."""

    LINKED = "linked"
    TOO_LATE = "too_late"
    REFUSED = "refused"
    NONE = "none"


@reports.command(epilog="Example: identity reports accounts --without-guests --limit 20")
def accounts(
    without_guests: Annotated[
        bool, typer.Option("--without-guests", help="Only accounts that no guest is linked to.")
    ] = False,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List login accounts, the newest first, and how many guests and organisations each one has."""
    from identity.read_models.accounts import list_accounts  # noqa: PLC0415

    rows = _read(lambda pool: list_accounts(pool, without_guests=without_guests, limit=limit))
    show_records(rows, as_json=as_json, empty="No login account found.")


@reports.command(epilog="Example: identity reports links --organisation 1001 --state refused")
def links(
    organisation: Organisation = None,
    state: Annotated[LinkState | None, typer.Option(help="Only links in this state.")] = None,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List the links of guests: linked, too late (two actors that may be merged), or refused and why."""
    from identity.read_models.links import list_links  # noqa: PLC0415

    rows = _read(lambda pool: list_links(pool, organisation, state, limit))
    show_records(rows, as_json=as_json, empty="No link found.")


@reports.command("first-logins", epilog="Example: identity reports first-logins --since 2026-01-01")
def first_logins(
    since: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="Only since this day, in UTC.", show_default=False)
    ] = datetime(1970, 1, 1, tzinfo=UTC),
    as_json: Json = False,
) -> None:
    """Count first logins by organisation, and how many of them made a new actor."""
    from identity.read_models.logins import count_first_logins  # noqa: PLC0415

    rows = _read(lambda pool: count_first_logins(pool, since.date()))
    show_records(rows, as_json=as_json, empty="No first login found.")


def _read(query: Callable[[asyncpg.Pool], Awaitable[Sequence[Any]]]) -> Sequence[Any]:
    async def rows() -> Sequence[Any]:
        async with database_of(settings_of_command()) as pool:
            return await query(pool)

    return in_loop(rows())
