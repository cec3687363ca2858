"""The commands `parked list|show|retry|discard`: guests whose messages could not be applied (I8).

Operators read "guest"; the code says subject, as all of `shared` does. The JSON keys are fixed: `in_line`
lists the parked messages, `through` means that all are applied, `held` is the state of a parked guest.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from shared.cli.console import as_json_text, echo, show_json, show_table
from shared.cli.running import By, Failed, in_loop, name_of
from shared.cli.service_handle import ServiceHandle, database_of
from shared.kernel.text import require_text, visible

if TYPE_CHECKING:
    from shared.messaging.inbox import Inbox
    from shared.messaging.parked import ParkedSubject, ParkedSubjects

Shown = dict[str, Any]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Subject = Annotated[UUID, typer.Argument(metavar="GUEST_ID", help="The guest's id.")]


def parked_commands(service: ServiceHandle) -> typer.Typer:
    """Return the group of commands for one service."""
    example, subject = f"Example: {service.name} parked", "0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11"
    commands = typer.Typer(
        no_args_is_help=True,
        help=f"Guests whose messages could not be applied.\n\n{example} list",
        context_settings={"obj": service},
    )
    commands.command("list", epilog=f"{example} list --json")(list_all)
    commands.command("show", epilog=f"{example} show {subject}")(show)
    commands.command("retry", epilog=f"{example} retry {subject}")(retry)
    commands.command("discard", epilog=f"{example} discard {subject} --reason 'sent by a test'")(discard)
    return commands


def list_all(context: typer.Context, as_json: Json = False) -> None:
    """List the parked guests, the longest parked first, and the unreadable messages."""
    subjects, unreadable = in_loop(_overview(context.obj))
    if as_json:
        show_json({"guests": subjects, "unreadable": unreadable})
        return
    columns = ("guest_id", "state", "message", "version", "since", "attempts", "reason")
    if subjects:
        show_table(columns, [[_text(subject[column]) for column in columns] for subject in subjects])
    else:
        echo("No guest is parked.")
    if unreadable:
        rows = [[_text(value) for value in body.values()] for body in unreadable]
        show_table(tuple(unreadable[0]), rows, title="\nunreadable messages")


def show(context: typer.Context, subject: Subject, as_json: Json = False) -> None:
    """Show one parked guest and its backlog: its messages, in order."""
    found, messages = in_loop(_messages(context.obj, subject))
    if as_json:
        show_json({**found, "in_line": messages})
        return
    for name, value in found.items():
        echo(f"{name}: {_text(value)}")
    columns = ("version", "type", "event_id", "time", "data")
    rows = [[_text(message[column]) for column in columns] for message in messages]
    show_table(columns, rows, "\nbacklog")


def retry(context: typer.Context, subject: Subject, as_json: Json = False) -> None:
    """Process the guest's backlog in order, now; exit code 1 if a message fails again."""
    after = in_loop(_retried(context.obj, subject))
    if as_json:
        show_json({"guest_id": subject, "through": after is None, "held": after})
    if after is not None:
        raise Failed(_still_parked(context.obj, after))
    if not as_json:
        echo(_processed(subject))


def discard(
    context: typer.Context,
    subject: Subject,
    reason: Annotated[str, typer.Option(help="Why it is skipped; the reason is stored.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Skip the failed message permanently, and process the backlog behind it."""
    why, who = reason_of(reason), name_of(by)
    before, after = in_loop(_discarded(context.obj, subject, why, who))
    if as_json:
        show_json({"guest_id": subject, "discarded": before, "through": after is None, "held": after})
        return
    echo(f"Discarded {before['message']}, version {before['version']}.")
    echo(_processed(subject) if after is None else _still_parked(context.obj, after))


def reason_of(text: str) -> str:
    """Return the reason that an operator gave. Raises BadParameter without one."""
    try:
        return require_text(text)
    except ValueError:
        raise typer.BadParameter("a reason is needed", param_hint="--reason") from None


async def _overview(service: ServiceHandle) -> tuple[Sequence[Shown], Sequence[Shown]]:
    from shared.messaging.inbox import unreadable_messages  # noqa: PLC0415
    from shared.messaging.parked import ParkedSubjects  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        subjects = [_shown(subject) for subject in await ParkedSubjects(pool).overview()]
        unreadable = [
            {"id": body.id, "received_at": body.received_at, "bytes": len(body.body), "reason": body.reason}
            for body in await unreadable_messages(pool)
        ]
    return subjects, unreadable


async def _messages(service: ServiceHandle, subject: UUID) -> tuple[Shown, Sequence[Shown]]:
    from shared.messaging.parked import ParkedSubjects  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        parked = ParkedSubjects(pool)
        found = await _find(parked, subject, service)
        messages = await parked.messages(subject)
    return _shown(found), [
        {
            "version": message.stream_version,
            "type": message.type,
            "event_id": message.id,
            "time": message.time,
            "data": message.data,
        }
        for message in messages
    ]


async def _retried(service: ServiceHandle, subject: UUID) -> Shown | None:
    """Return None when all is applied, else the state of the parked subject. Raises Failed."""
    async with _inbox(service) as inbox:
        await _find(inbox.parked, subject, service)
        processed = await inbox.retry_parked(subject)
        return None if processed else _shown(await inbox.parked.show(subject))


async def _discarded(
    service: ServiceHandle, subject: UUID, reason: str, by: str
) -> tuple[Shown, Shown | None]:
    """Return the state before, and after; None when all is applied. Raises Failed."""
    from shared.messaging.parked import State  # noqa: PLC0415

    async with _inbox(service) as inbox:
        before = await _find(inbox.parked, subject, service)
        if before.state is State.WAITING:
            raise Failed(
                f"Guest {subject} is only waiting ({before.reason.rstrip('.')}) and is retried automatically:"
                f" the message must not be discarded. `{service.name} parked retry {subject}` tries it now."
            )
        processed = await inbox.discard(subject, reason=reason, by=by)
        return _shown(before), None if processed else _shown(await inbox.parked.show(subject))


@asynccontextmanager
async def _inbox(service: ServiceHandle) -> "AsyncIterator[Inbox]":
    async with service.operations() as operations:
        # The command reports the outcome in one line; the inbox's own log lines would repeat it.
        logging.root.setLevel(logging.CRITICAL)
        yield operations.inbox


async def _find(parked: "ParkedSubjects", subject: UUID, service: ServiceHandle) -> "ParkedSubject":
    from shared.messaging.errors import NotParked  # noqa: PLC0415

    try:
        return await parked.show(subject)
    except NotParked:
        raise Failed(
            f"Guest {subject} is not parked: `{service.name} parked list` shows the parked guests."
        ) from None


def _shown(subject: "ParkedSubject") -> Shown:
    from shared.messaging.envelope import TYPE_PREFIX  # noqa: PLC0415

    return {
        "guest_id": subject.subject,
        "state": subject.state,
        "message": subject.message_type and subject.message_type.removeprefix(TYPE_PREFIX),
        "version": subject.message_version,
        "reason": subject.reason,
        "since": subject.since,
        "attempts": subject.attempts,
        "next_try": subject.next_try,
        "messages": subject.messages,
    }


def _processed(subject: UUID) -> str:
    return f"Guest {subject} processed; no messages pending."


def _still_parked(service: ServiceHandle, subject: Shown) -> str:
    return (
        f"Guest {subject['guest_id']} is still {subject['state']}: version {_text(subject['version'])},"
        f" {_text(subject['message'])}: {subject['reason'].rstrip('.')}."
        f" `{service.name} parked show {subject['guest_id']}` shows its backlog."
    )


def _text(value: object) -> str:
    match value:
        case None:
            return "–"
        case datetime():
            return value.isoformat(" ", "seconds")
        case dict():
            return as_json_text(value)
        case _:
            return visible(str(value))
