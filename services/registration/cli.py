"""The command `registration`. What is heavy is imported by the command that needs it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID, uuid4

import typer

from registration.settings import Settings
from shared.cli import commands, dependencies
from shared.cli.doctor import Step, diagnose
from shared.cli.events import events_commands
from shared.cli.operated import OperatedService
from shared.cli.output import show_json, show_pairs
from shared.cli.parked import parked_commands
from shared.cli.running import Failed, in_loop, run

if TYPE_CHECKING:
    from shared.event_log.transfer import TransferredTable
    from shared.messaging.inbox import Inbox

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Guest borrowing: the registration service.\n\nExample: registration doctor",
)
isil = typer.Typer(no_args_is_help=True, help="The table of card prefixes (R2).")
guests = typer.Typer(no_args_is_help=True, help="Single guests.")
app.add_typer(isil, name="isil")
app.add_typer(guests, name="guests")

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]


def main() -> None:
    """The entry point."""
    run(app, "registration")


def _settings() -> Settings:
    from shared.observability.logging import configure_logging  # noqa: PLC0415

    settings = Settings.from_environment()
    configure_logging("registration", settings.log_level)
    return settings


def _transferred_tables() -> "Sequence[TransferredTable]":
    from registration.adapters.database import TRANSFERRED_TABLES  # noqa: PLC0415

    return TRANSFERRED_TABLES


@asynccontextmanager
async def _inbox() -> "AsyncIterator[Inbox]":
    from registration.bootstrap import open_service  # noqa: PLC0415

    async with open_service(_settings()) as service:
        yield service.inbox


operated = OperatedService("registration", _settings, _transferred_tables, _inbox)
app.add_typer(events_commands(operated), name="events")
app.add_typer(parked_commands(operated), name="parked")


@app.command(epilog="Example: REGISTRATION_PORT=8001 registration serve")
def serve() -> None:
    """The HTTP service, until SIGTERM."""
    in_loop(_serve(_settings()))


@app.command(epilog="Example: registration work")
def work() -> None:
    """Relay, consumers and regular tasks, until SIGTERM."""
    from registration.worker import work as working  # noqa: PLC0415

    in_loop(working(_settings()))


@app.command(epilog="Example: registration migrate")
def migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date; running it again changes nothing."""
    from registration.adapters.database import SCHEMA  # noqa: PLC0415

    commands.migrate(_settings(), SCHEMA, as_json=as_json)


@app.command(epilog="Example: registration doctor --json")
def doctor(as_json: Json = False) -> None:
    """Show every setting with its source, check every dependency, and say what to do."""
    if not diagnose(Settings, _steps, as_json=as_json):
        raise typer.Exit(1)


@isil.command("import", epilog="Example: registration isil import isil_card_prefixes.csv")
def import_prefixes(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV")], as_json: Json = False
) -> None:
    """Replace the table of card prefixes by the one in FILE."""
    from registration.adapters.card_prefix_file import PrefixFileMistake  # noqa: PLC0415
    from registration.adapters.card_prefixes import import_file  # noqa: PLC0415

    settings = _settings()
    try:
        count = in_loop(import_file(settings.database_url.get_secret_value(), file))
    except PrefixFileMistake as mistake:
        raise Failed(f"{mistake}. Nothing was changed.") from None
    show_json({"prefixes": count}) if as_json else typer.echo(f"{count} prefixes imported.")


@guests.command("check", epilog="Example: registration guests check 0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11")
def check(guest_id: UUID, as_json: Json = False) -> None:
    """Ask one guest's home library again about the term (R12)."""
    outcome = in_loop(_check(_settings(), guest_id))
    show_json(outcome) if as_json else show_pairs(outcome)


async def _serve(settings: Settings) -> None:
    from registration.bootstrap import http_app, open_service  # noqa: PLC0415
    from shared.stopping import stop_signals  # noqa: PLC0415
    from shared.web.server import serve as serving  # noqa: PLC0415

    with stop_signals() as stopping:
        async with open_service(settings) as service:
            await serving(http_app(service, stopping), settings.host, settings.port, stopping)


async def _check(settings: Settings, guest_id: UUID) -> dict[str, object]:
    from registration.application.check_terms import check_term  # noqa: PLC0415
    from registration.application.ports import Context  # noqa: PLC0415
    from registration.application.show_guest import show_guest  # noqa: PLC0415
    from registration.bootstrap import open_service  # noqa: PLC0415
    from registration.domain.guest import Guest  # noqa: PLC0415
    from shared.event_log import Metadata  # noqa: PLC0415

    async with open_service(settings) as service:
        registration = service.registration
        guest = await registration.store.find(Guest, guest_id)
        if guest is None:
            raise Failed(f"There is no guest {guest_id}: look it up at the counter.")
        context = Context(guest.state.organisation, Metadata("operator", uuid4()))
        await check_term(guest_id, context, registration)
        view = await show_guest(guest_id, context.organisation, registration)
    return {
        "guest_id": view.guest_id,
        "verdict": view.home.verdict,
        "status": view.status,
        "header": view.header,
        "term_end": view.term.end,
        "stale": view.term.stale,
    }


def _steps(settings: Settings) -> list[Step]:
    from registration.adapters.database import SCHEMA  # noqa: PLC0415

    return [
        *dependencies.database(settings, SCHEMA, "registration"),
        *dependencies.files(settings),
        dependencies.organisations(settings.organisations, Settings.prefix()),
        Step("home libraries", partial(_home_libraries, settings), "correct REGISTRATION_HOME_LIBRARIES"),
        dependencies.sign_in(settings),
        dependencies.broker(settings),
        dependencies.other_service("identity", settings.identity_url),
    ]


async def _home_libraries(settings: Settings) -> str:
    from registration.adapters.home_library.directory import load_directory  # noqa: PLC0415
    from registration.bootstrap import environment  # noqa: PLC0415

    directory = load_directory(settings.home_libraries, environment())
    return f"{len(directory.libraries)} in {settings.home_libraries}"
