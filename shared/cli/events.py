"""The commands `events list|show|export|import`: read and move the event log."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from shared.cli.console import echo, progress_bar, show_json, show_table
from shared.cli.running import Failed, in_loop, operator_at_work
from shared.cli.service_handle import ServiceHandle, database_of
from shared.kernel.text import visible

if TYPE_CHECKING:
    from shared.event_log.export import Decrypter, Terms
    from shared.event_log.reading import Listed
    from shared.platform.settings import ServiceSettings


STANDARD = Path("-")


# Typer's own checks of a path treat `-` as a file of that name.
def not_a_folder(path: Path) -> Path:
    """Check an argument that names a file to write. A folder is misuse."""
    if path != STANDARD and path.is_dir():
        raise typer.BadParameter(f"{path} is a folder")
    return path


def to_be_read(path: Path) -> Path:
    """Check an argument that names a file to read. A missing file is misuse."""
    if path != STANDARD and not path.exists():
        raise typer.BadParameter(f"{path} does not exist")
    return not_a_folder(path)


@contextmanager
def complete_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name only when it is complete; mode 0600."""
    if path == STANDARD:
        yield from _standard_output()
        return
    if path.exists() and not path.is_file():
        raise Failed(f"{path} is not a regular file: name another one, or - for standard output.")
    if not path.parent.is_dir():
        raise Failed(f"There is no folder {path.parent}: create it, or name another file.")
    with tempfile.NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".partial", delete=False
    ) as partial:
        try:
            yield partial
            partial.flush()
            os.fsync(partial.fileno())
            Path(partial.name).replace(path)
        except BaseException:
            Path(partial.name).unlink()
            raise


def _standard_output() -> Iterator[IO[bytes]]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Python would try to write the rest when it exits, and report the same error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Failed("Standard output was closed before the export was complete. Export again.") from None


@contextmanager
def file_to_read(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read, or standard input."""
    if path == STANDARD:
        yield sys.stdin.buffer
        return
    with path.open("rb") as file:
        yield file


def write_log(service: ServiceHandle, path: Path, *, decrypt: bool) -> dict[str, Any]:
    """Export the log; return the counts."""
    settings = service.settings()
    decrypter = in_loop(_decrypter(settings)) if decrypt else None
    with complete_file(path) as file:
        return in_loop(_export(settings, _terms(service, settings), file, decrypter))


def read_log(service: ServiceHandle, path: Path) -> dict[str, Any]:
    """Import a log; return the counts. Raises Failed; then nothing was imported."""
    from shared.event_log.export import FileRefused, LogNotEmpty  # noqa: PLC0415

    settings = service.settings()
    try:
        with file_to_read(path) as file:
            return in_loop(_import(settings, _terms(service, settings), file))
    except FileRefused as refused:
        raise Failed(f"{path}: {refused}. Nothing was imported.") from None
    except LogNotEmpty as error:
        raise Failed(
            f"The log is not empty (the table {error} has rows): create a new database, run"
            f" `{service.name} migrate`, and import before you start the service."
        ) from None


async def _decrypter(settings: "ServiceSettings") -> "Decrypter":
    import structlog  # noqa: PLC0415

    from shared.event_log import MasterKeys  # noqa: PLC0415
    from shared.event_log.export import Decrypter  # noqa: PLC0415

    by = await operator_at_work(settings)
    structlog.get_logger().warning("event_log.decrypting", by=by)
    return Decrypter(MasterKeys.from_file(settings.master_key_file))


async def _export(
    settings: "ServiceSettings", terms: "Terms", file: IO[bytes], decrypter: "Decrypter | None"
) -> dict[str, Any]:
    from shared.event_log.export import export_log  # noqa: PLC0415

    async with database_of(settings) as pool, pool.acquire() as connection:
        with progress_bar("exporting", unit="events") as progress:
            return asdict(await export_log(connection, terms, file.write, progress, decrypter))


async def _import(settings: "ServiceSettings", terms: "Terms", file: IO[bytes]) -> dict[str, Any]:
    from shared.event_log.export import import_log  # noqa: PLC0415

    async with database_of(settings, as_owner=True) as pool, pool.acquire() as connection:
        with progress_bar("importing", unit="events") as progress:
            return asdict(await import_log(connection, terms, file, progress))


def _terms(service: ServiceHandle, settings: "ServiceSettings") -> "Terms":
    from shared.event_log.export import Terms, sealing_keys  # noqa: PLC0415

    return Terms(service.name, service.transferred_tables(), sealing_keys(settings.master_key_file))


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts: one event per line.")]
Shown = dict[str, Any]
"""An event as `readable_event` returns it."""


def events_commands(service: ServiceHandle) -> typer.Typer:
    """Return the group of commands for one service."""
    example = f"Example: {service.name} events"
    commands = typer.Typer(
        no_args_is_help=True,
        help=f"Read and move the event log.\n\n{example} list",
        context_settings={"obj": service},
    )
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
        int | None,
        typer.Option(min=0, max=2**63 - 1, help="Events after this position; the newest when left out."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many events.")] = 50,
    topic: Annotated[str | None, typer.Option(help="Only this topic.")] = None,
    stream: Annotated[UUID | None, typer.Option(help="Only this stream.")] = None,
    as_json: JsonLines = False,
) -> None:
    """List the newest events, or the first ones after a position, in the order of the log."""
    from shared.event_log.reading import Listed  # noqa: PLC0415

    shown = in_loop(_listed(context.obj, Listed(limit, after, topic, stream)))
    if as_json:
        _show_lines(shown)
        return
    if not shown:
        echo("No event found.")
        return
    columns = ("position", "recorded_at", "topic", "stream", "version", "caused_by")
    show_table(columns, [[str(event[column]) for column in columns] for event in shown])


def show_stream(
    context: typer.Context,
    stream: Annotated[UUID, typer.Argument(help="The stream's id. A guest's stream has the guest's id.")],
    as_json: JsonLines = False,
) -> None:
    """Show every event of one stream: who, when, why, and its fields. Personal data stays encrypted."""
    shown = in_loop(_stream(context.obj, stream))
    if not shown:
        raise Failed(
            f"There is no stream {stream}: `{context.obj.name} events list` shows the newest events."
        )
    if as_json:
        _show_lines(shown)
        return
    for event in shown:
        echo(_block(event))


def export_file(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(callback=not_a_folder, help="The file to write; - is standard output.")
    ],
    decrypt: Annotated[
        bool,
        typer.Option(
            "--decrypt", help="With personal data in clear text, only for reading; needs an operator's token."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Export the log and its side tables to FILE, as they are at this moment."""
    done = write_log(context.obj, file, decrypt=decrypt)
    if file != STANDARD:
        _report(done, f"exported to {file}", as_json=as_json)


def import_file(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(callback=to_be_read, help="The file to read; - is standard input.")],
    as_json: Json = False,
) -> None:
    """Import FILE into an empty log, completely or not at all. Stop the service first."""
    done = read_log(context.obj, file)
    _report(done, f"imported from {file}", as_json=as_json)


def _report(done: Shown, what: str, *, as_json: bool) -> None:
    if as_json:
        show_json(done)
    else:
        echo(f"{done['events']} events and {sum(done['rows'].values())} rows {what}.")


def _show_lines(shown: Sequence[Shown]) -> None:
    for event in shown:
        show_json(event)


def _block(event: Shown) -> str:
    fields = "".join(
        f"\n    {name}: {'–' if value is None else visible(str(value))}"
        for name, value in event["fields"].items()
    )
    cause = "" if event["causation"] is None else f", causation {event['causation']}"
    return (
        f"{event['version']}  {event['topic']}\n"
        f"  {event['recorded_at'].isoformat(' ', 'milliseconds')} by {visible(event['caused_by'])}\n"
        f"  position {event['position']}, event {event['event_id']},"
        f" correlation {event['correlation']}{cause}{fields}"
    )


async def _listed(service: ServiceHandle, listed: "Listed") -> list[Shown]:
    from shared.event_log.readable import readable_event  # noqa: PLC0415
    from shared.event_log.reading import list_events as listing  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        return [readable_event(event) for event in await listing(pool, listed)]


async def _stream(service: ServiceHandle, stream: UUID) -> list[Shown]:
    from shared.event_log.readable import readable_event  # noqa: PLC0415
    from shared.event_log.reading import Reader  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        return [readable_event(event) for event in await Reader(pool).stream(stream)]
