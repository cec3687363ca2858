"""The commands `events list|show|export|import`: reading and moving the event log."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from shared.cli.event_file import read_log, write_log
from shared.cli.files import STANDARD, not_a_folder, to_be_read
from shared.cli.operated import OperatedService, database_of
from shared.cli.output import show_json, show_table
from shared.cli.running import Failed, in_loop

if TYPE_CHECKING:
    from shared.event_log.listing import Listed

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Shown = dict[str, Any]
"""An event as `readable_event` gives it."""


def events_commands(service: OperatedService) -> typer.Typer:
    """Make the commands of one service."""
    commands = typer.Typer(
        no_args_is_help=True, help="The event log: read it, move it.", context_settings={"obj": service}
    )
    example = f"Example: {service.name} events"
    commands.command("list", epilog=f"{example} list --after 100 --limit 20")(list_events)
    stream = "0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11"
    commands.command("show", epilog=f"{example} show {stream}")(show_stream)
    commands.command("export", epilog=f"{example} export log.jsonl")(export_file)
    commands.command("import", epilog=f"{example} import log.jsonl")(import_file)
    return commands


def list_events(
    context: typer.Context,
    *,
    after: Annotated[
        int | None, typer.Option(min=0, help="Those beyond this position; without it the newest.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50,
    topic: Annotated[str | None, typer.Option(help="Only this topic.")] = None,
    stream: Annotated[UUID | None, typer.Option(help="Only this stream.")] = None,
    as_json: Json = False,
) -> None:
    """List the newest events, or those after a position, in the order of the log."""
    from shared.event_log.listing import Listed  # noqa: PLC0415

    shown = in_loop(_listed(context.obj, Listed(limit, after, topic, stream)))
    if as_json:
        _show_lines(shown)
        return
    columns = ("position", "recorded_at", "topic", "stream", "version", "caused_by")
    show_table(columns, [[str(event[column]) for column in columns] for event in shown])


def show_stream(
    context: typer.Context,
    stream: Annotated[UUID, typer.Argument(help="The stream's id: of a guest, the guest's.")],
    as_json: Json = False,
) -> None:
    """Show every event of one stream: who, when, why, and its fields. Personal data stays sealed."""
    shown = in_loop(_stream(context.obj, stream))
    if not shown:
        raise Failed(f"There is no stream {stream}: `{context.obj.name} events list` shows those there are.")
    if as_json:
        _show_lines(shown)
        return
    for event in shown:
        typer.echo(_block(event))


def export_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(callback=not_a_folder, help="- is standard output.")],
    decrypt: Annotated[
        bool,
        typer.Option("--decrypt", help="With personal data, for reading only; needs an operator's token."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the log and all that belongs to it to FILE, as it is at this moment."""
    done = write_log(context.obj, file, decrypt=decrypt)
    if file != STANDARD:
        _tell(done, f"exported to {file}", as_json=as_json)


def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(callback=to_be_read, help="- is standard input.")],
    as_json: Json = False,
) -> None:
    """Take over FILE into an empty log, all of it or nothing. Stop the service first, start it after."""
    done = read_log(context.obj, file)
    _tell(done, f"imported from {file}", as_json=as_json)


def _tell(done: Shown, what: str, *, as_json: bool) -> None:
    if as_json:
        show_json(done)
    else:
        typer.echo(f"{done['events']} events and {sum(done['rows'].values())} rows {what}.")


def _show_lines(shown: Sequence[Shown]) -> None:
    for event in shown:
        show_json(event)


def _block(event: Shown) -> str:
    fields = "".join(f"\n    {name}: {value}" for name, value in event["fields"].items())
    cause = "" if event["causation"] is None else f", causation {event['causation']}"
    return (
        f"{event['version']}  {event['topic']}\n"
        f"  {event['recorded_at'].isoformat(' ', 'milliseconds')} by {event['caused_by']}\n"
        f"  position {event['position']}, event {event['event_id']},"
        f" correlation {event['correlation']}{cause}{fields}"
    )


async def _listed(service: OperatedService, listed: "Listed") -> list[Shown]:
    from shared.event_log.listing import list_events as listing  # noqa: PLC0415
    from shared.event_log.readable import readable_event  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        return [readable_event(event) for event in await listing(pool, listed)]


async def _stream(service: OperatedService, stream: UUID) -> list[Shown]:
    from shared.event_log.readable import readable_event  # noqa: PLC0415
    from shared.event_log.reading import Reader  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        return [readable_event(event) for event in await Reader(pool).stream(stream)]
