"""The commands `parked list|show|retry|discard`: guests whose messages could not be handled (I8)."""

import getpass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from shared.cli.operated import OperatedService
from shared.cli.output import show_json, show_table
from shared.cli.parked_guests import Shown, discarded, in_line, overview, retried
from shared.cli.running import Failed, in_loop

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Guest = Annotated[UUID, typer.Argument(help="The guest's id.")]


def parked_commands(service: OperatedService) -> typer.Typer:
    """Make the commands of one service."""
    commands = typer.Typer(
        no_args_is_help=True,
        help="Guests whose messages could not be handled.",
        context_settings={"obj": service},
    )
    example, guest = f"Example: {service.name} parked", "0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11"
    commands.command("list", epilog=f"{example} list --json")(list_guests)
    commands.command("show", epilog=f"{example} show {guest}")(show_guest)
    commands.command("retry", epilog=f"{example} retry {guest}")(retry)
    commands.command("discard", epilog=f"{example} discard {guest} --reason 'sent by a test'")(discard)
    return commands


def list_guests(context: typer.Context, as_json: Json = False) -> None:
    """List the guests who are held, longest first, and what came in that is no message at all."""
    guests, unreadable = in_loop(overview(context.obj))
    if as_json:
        show_json({"guests": guests, "unreadable": unreadable})
        return
    columns = ("guest_id", "state", "message", "version", "since", "attempts", "reason")
    show_table(columns, [[_text(guest[column]) for column in columns] for guest in guests])
    if unreadable:
        rows = [[_text(value) for value in each.values()] for each in unreadable]
        show_table(tuple(unreadable[0]), rows, title="\nno message of ours")


def show_guest(context: typer.Context, guest_id: Guest, as_json: Json = False) -> None:
    """Show one guest who is held, with the messages in line."""
    guest, line = in_loop(in_line(context.obj, guest_id))
    if as_json:
        show_json({**guest, "in_line": line})
        return
    for name, value in guest.items():
        typer.echo(f"{name}: {_text(value)}")
    columns = ("version", "type", "event_id", "time", "data")
    show_table(columns, [[_text(message[column]) for column in columns] for message in line], "\nin line")


def retry(context: typer.Context, guest_id: Guest, as_json: Json = False) -> None:
    """Play the guest's messages in order, now; exit code 1 when the guest is not through."""
    after = in_loop(retried(context.obj, guest_id))
    if as_json:
        show_json({"guest_id": guest_id, "through": after is None, "held": after})
    if after is not None:
        raise Failed(_still_held(context.obj, after))
    if not as_json:
        typer.echo(f"Guest {guest_id} is through.")


def discard(
    context: typer.Context,
    guest_id: Guest,
    reason: Annotated[str, typer.Option(help="Why; it is written down.")],
    by: Annotated[str | None, typer.Option(help="Who you are; by default your login name.")] = None,
    as_json: Json = False,
) -> None:
    """Pass over the message that is in the way, for good, and play those behind it."""
    if not reason.strip():
        raise typer.BadParameter("a reason is needed", param_hint="--reason")
    before, after = in_loop(discarded(context.obj, guest_id, reason.strip(), by or _login_name()))
    if as_json:
        show_json({"guest_id": guest_id, "discarded": before, "through": after is None, "held": after})
        return
    typer.echo(f"Discarded {before['message']}, version {before['version']}.")
    typer.echo(f"Guest {guest_id} is through." if after is None else _still_held(context.obj, after))


def _still_held(service: OperatedService, guest: Shown) -> str:
    return (
        f"Guest {guest['guest_id']} is still {guest['state']}: version {_text(guest['version'])},"
        f" {_text(guest['message'])}: {guest['reason']}."
        f" `{service.name} parked show {guest['guest_id']}` shows the messages in line."
    )


def _text(value: object) -> str:
    match value:
        case None:
            return "–"
        case datetime():
            return value.isoformat(" ", "seconds")
        case _:
            return str(value)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container, whose user has a number only
        raise Failed("Your login name is unknown here: say who you are with --by.") from None
