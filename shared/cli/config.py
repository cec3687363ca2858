"""The commands `config check|reload|status|changes`: the files of settings of a running service."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.console import echo, show_json, show_table
from shared.cli.running import By, Failed, in_loop, name_of
from shared.cli.service_handle import ServiceHandle, database_of
from shared.kernel.text import require_text, visible

if TYPE_CHECKING:
    from shared.configuration.operating import Reloaded
    from shared.configuration.record import Change, ProcessState

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
WAIT_SECONDS = 20.0
"""Longer than a process that ended without a word counts as running."""
MOMENT = "%Y-%m-%d %H:%M:%S"
STATES = {
    "taken": "uses these files",
    "refused": "its files are not valid",
    "other": "its files are not the same as here",
    "silent": "no reply",
}


def config_commands(service: ServiceHandle) -> typer.Typer:
    """Return the group of commands for one service."""
    example = f"Example: {service.name} config"
    commands = typer.Typer(
        no_args_is_help=True,
        help=f"The files of settings, without a restart.\n\n{example} check",
        context_settings={"obj": service},
    )
    commands.command("check", epilog=f"{example} check --json")(check)
    commands.command("reload", epilog=f"{example} reload --reason 'a new home library'")(reload)
    commands.command("status", epilog=f"{example} status --json")(status)
    commands.command("changes", epilog=f"{example} changes --last 5")(changes)
    return commands


def check(context: typer.Context, as_json: Json = False) -> None:
    """Read all files of settings here, and show every mistake with its line. Exit code 1 if there is one."""
    from shared.configuration.files import mistakes_in  # noqa: PLC0415

    service: ServiceHandle = context.obj
    files = service.files()
    mistakes = mistakes_in(files)
    if as_json:
        show_json({"ok": not mistakes, "mistakes": [asdict(mistake) for mistake in mistakes]})
    elif mistakes:
        for mistake in mistakes:
            echo(visible(str(mistake)))
    else:
        echo("\n".join(f"{file.path}: valid" for file in files.values()))
    if mistakes:
        raise typer.Exit(1)


def reload(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why; the reason is stored.")],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Make all running processes take their files now, on every machine. Exit code 1 unless all did."""
    who = name_of(by)
    try:
        why = require_text(reason)
    except ValueError:
        raise typer.BadParameter("a reason is needed", param_hint="--reason") from None
    done = in_loop(_reloaded(context.obj, who, why))
    if as_json:
        show_json({**asdict(done), "complete": done.complete})
    else:
        _show(done)
    if not done.complete:
        raise typer.Exit(1)


async def _reloaded(service: ServiceHandle, by: str, reason: str) -> "Reloaded":
    from shared.configuration.operating import FilesInUse  # noqa: PLC0415
    from shared.kernel.toml_file import Mistakes  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        try:
            return await FilesInUse(pool, service.files).reload(by, reason, WAIT_SECONDS)
        except Mistakes as error:
            raise Failed(f"{error}. Nothing was changed.") from None


def _show(done: "Reloaded") -> None:
    echo(f"Files {done.reload.digest[:12]}:")
    if not done.outcomes:
        echo("No process is running; the next one reads the files when it starts.")
        return
    rows = [
        (outcome.process, STATES[outcome.state], outcome.digest[:12], outcome.failure or "")
        for outcome in done.outcomes
    ]
    show_table(("process", "", "uses", "reason"), [[visible(cell) for cell in row] for row in rows])


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show which files each running process uses, and why one did not take them."""
    running = in_loop(_processes(context.obj))
    if as_json:
        show_json([asdict(process) for process in running])
        return
    if not running:
        echo("No process is running.")
        return
    rows = [
        (
            process.process,
            process.digest[:12],
            f"{process.loaded_at:{MOMENT}}",
            process.failure or "",
        )
        for process in running
    ]
    show_table(("process", "uses", "since", "not taken"), [[visible(cell) for cell in row] for row in rows])


async def _processes(service: ServiceHandle) -> "list[ProcessState]":
    from shared.configuration import ConfigurationRecord  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        return await ConfigurationRecord(pool).processes()


def changes(
    context: typer.Context,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """Show who changed which settings, when and why."""
    found = in_loop(_changes(context.obj, last))
    if as_json:
        show_json([asdict(change) for change in found])
        return
    for change in found:
        head = (
            f"{change.taken_at:%Y-%m-%d %H:%M:%S} {change.taken_by}: {change.reason} ({change.digest[:12]})"
        )
        echo(visible(head))
        for difference in change.differences:
            echo(visible(f"  {difference}"))
    if not found:
        echo("No process has read the files yet.")


async def _changes(service: ServiceHandle, last: int) -> "list[Change]":
    from shared.configuration import ConfigurationRecord  # noqa: PLC0415

    async with database_of(service.settings()) as pool:
        return await ConfigurationRecord(pool).changes(last)
