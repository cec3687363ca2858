"""The commands `parked list|show|retry|discard`: guests whose messages could not be applied (I8)."""

import getpass
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from shared.cli.console import show_json, show_table
from shared.cli.running import Failed, in_loop
from shared.cli.service_handle import ServiceHandle, database_of

if TYPE_CHECKING:
    from shared.messaging.inbox import Inbox
    from shared.messaging.parked import ParkedGuest, ParkedGuests


Shown = dict[str, Any]


async def overview(service: ServiceHandle) -> tuple[Sequence[Shown], Sequence[Shown]]:
    """All guests who are held, and all that came in and cannot be read."""
    from shared.messaging.inbox import kept  # noqa: PLC0415
    from shared.messaging.parked import ParkedGuests  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        guests = [_shown(guest) for guest in await ParkedGuests(pool).overview()]
        unreadable = [
            {"id": each.id, "received_at": each.received_at, "bytes": len(each.body), "reason": each.reason}
            for each in await kept(pool)
        ]
    return guests, unreadable


async def in_line(service: ServiceHandle, guest_id: UUID) -> tuple[Shown, Sequence[Shown]]:
    """One guest, and the messages in line. Raises Failed when the guest is not held."""
    from shared.messaging.parked import ParkedGuests  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        held = ParkedGuests(pool)
        guest = await _find(held, guest_id, service)
        messages = await held.messages(guest_id)
    line = [
        {
            "version": message.stream_version,
            "type": message.type,
            "event_id": message.id,
            "time": message.time,
            "data": message.data,
        }
        for message in messages
    ]
    return _shown(guest), line


async def retried(service: ServiceHandle, guest_id: UUID) -> Shown | None:
    """Try a guest again; None when through, else how it is held now. Raises Failed when it is not held."""
    async with _inbox(service) as inbox:
        await _find(inbox.parked, guest_id, service)
        through = await inbox.retry_parked(guest_id)
        return None if through else _shown(await inbox.parked.show(guest_id))


async def discarded(
    service: ServiceHandle, guest_id: UUID, reason: str, by: str
) -> tuple[Shown, Shown | None]:
    """Pass over what is in the way; how the guest was held before, and how after. Raises Failed."""
    from shared.messaging.parked import State  # noqa: PLC0415

    async with _inbox(service) as inbox:
        before = await _find(inbox.parked, guest_id, service)
        if before.state is State.WAITING:
            raise Failed(
                f"Guest {guest_id} is only waiting ({before.reason}) and is tried by itself:"
                f" what is awaited must not be discarded. `{service.name} parked retry` tries it now."
            )
        through = await inbox.discard(guest_id, reason=reason, by=by)
        return _shown(before), None if through else _shown(await inbox.parked.show(guest_id))


@asynccontextmanager
async def _inbox(service: ServiceHandle) -> "AsyncIterator[Inbox]":
    async with service.inbox() as inbox:
        # What the inbox logs of this guest is what the command itself says in its one line.
        logging.root.setLevel(logging.CRITICAL)
        yield inbox


async def _find(held: "ParkedGuests", guest_id: UUID, service: ServiceHandle) -> "ParkedGuest":
    from shared.messaging.errors import NotParked  # noqa: PLC0415

    try:
        return await held.show(guest_id)
    except NotParked:
        told = f"Guest {guest_id} is not held: `{service.name} parked list` shows those who are."
        raise Failed(told) from None


def _shown(guest: "ParkedGuest") -> Shown:
    from shared.messaging.envelope import TYPE_PREFIX  # noqa: PLC0415

    return {
        "guest_id": guest.guest_id,
        "state": guest.state,
        "message": guest.message_type and guest.message_type.removeprefix(TYPE_PREFIX),
        "version": guest.message_version,
        "reason": guest.reason,
        "since": guest.since,
        "attempts": guest.attempts,
        "next_try": guest.next_try,
        "messages": guest.messages,
    }


Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Guest = Annotated[UUID, typer.Argument(help="The guest's id.")]


def parked_commands(service: ServiceHandle) -> typer.Typer:
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


def _still_held(service: ServiceHandle, guest: Shown) -> str:
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
