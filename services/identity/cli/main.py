"""The command `identity`. What is heavy is imported by the command that needs it."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from identity.cli.orphans import orphans
from identity.cli.reports import reports
from identity.service_handle import SERVICE, settings_of_command
from shared.cli import doctor as checks
from shared.cli import service_handle
from shared.cli.config import config_commands
from shared.cli.console import echo, show_json
from shared.cli.doctor import Step, diagnose
from shared.cli.events import events_commands
from shared.cli.keys import keys_commands
from shared.cli.parked import parked_commands
from shared.cli.projections import projection_commands
from shared.cli.running import By, Failed, ProcessNumber, in_loop, name_of, run

if TYPE_CHECKING:
    from identity.application.import_accounts import Imported
    from identity.settings import Settings
    from shared.web.shared_address import SharedAddress

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Logins at guest libraries: the identity service.\n\nExample: identity doctor",
)
accounts = typer.Typer(
    no_args_is_help=True, help="Login accounts.\n\nExample: identity accounts import accounts.csv"
)
app.add_typer(accounts, name="accounts")
app.add_typer(reports, name="reports")
app.add_typer(orphans, name="orphans")
erasures = typer.Typer(
    no_args_is_help=True, help="The ledger of all erasures.\n\nExample: identity erasures apply"
)
app.add_typer(erasures, name="erasures")


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def main() -> None:
    """Run the command line."""
    run(app, "identity")


app.add_typer(events_commands(SERVICE), name="events")
app.add_typer(parked_commands(SERVICE), name="parked")
app.add_typer(keys_commands(SERVICE), name="keys")
app.add_typer(projection_commands(SERVICE), name="projections")
app.add_typer(config_commands(SERVICE), name="config")


@app.command(epilog="Example: IDENTITY_PORT=8002 identity serve")
def serve(processes: ProcessNumber = 1) -> None:
    """Run the HTTP service until SIGTERM."""
    from shared.cli.processes import serve_in  # noqa: PLC0415

    settings = settings_of_command()
    serve_in(processes, settings, partial(_serve, settings))


@app.command(epilog="Example: identity work")
def work() -> None:
    """Run the relay, the consumers and the regular tasks until SIGTERM."""
    from identity.worker import work as working  # noqa: PLC0415

    in_loop(working(settings_of_command()))


@app.command(epilog="Example: identity status --json")
def status(as_json: Json = False) -> None:
    """Show how far views and messages are, and the parked guests: what the operators' page shows."""
    service_handle.show_status(SERVICE, as_json=as_json)


@app.command(epilog="Example: identity migrate")
def migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date; running it again changes nothing."""
    from identity.adapters.tables import SCHEMA  # noqa: PLC0415

    service_handle.migrate(settings_of_command(), SCHEMA, as_json=as_json)


@app.command(epilog="Example: identity doctor --json")
def doctor(as_json: Json = False) -> None:
    """Show every setting with its source, check every dependency, and show what to do."""
    from identity.settings import Settings  # noqa: PLC0415

    if not diagnose(Settings, _steps, as_json=as_json):
        raise typer.Exit(1)


@accounts.command("import", epilog="Example: identity accounts import accounts.csv")
def import_file(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="CSV: account_id,username,email,home_isil,home_card_number"
        ),
    ],
    by: By = None,
    as_json: Json = False,
) -> None:
    """Import the login accounts in FILE, completely or not at all: one mistake, and nothing is changed."""
    done = in_loop(_import(settings_of_command(), file, name_of(by)))
    if as_json:
        show_json({"opened": done.opened, "known": done.known, "failed": service_handle.named(done.failed)})
    else:
        echo(f"{done.opened} accounts opened, {done.known} known already.")
    service_handle.require_no_failures(done.failed, "identity")


@accounts.command("check-directory", epilog="Example: identity accounts check-directory jan.jansen NL-070288")
def check_directory(
    username: Annotated[str, typer.Argument(help="The username of an account that exists.")],
    home_isil: Annotated[str, typer.Argument(help="The ISIL of its home library.")],
    as_json: Json = False,
) -> None:
    """Ask the account directory about an account in every way that identity does, and show each step.

    The output has the account's id. It never has the username, the e-mail address or the card number.
    """
    if not in_loop(_check_directory(settings_of_command(), username, home_isil, as_json=as_json)):
        raise typer.Exit(1)


@app.command(epilog="Example: identity retention --dry-run")
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be erased now.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Erase login accounts without a guest that were not used for IDENTITY_RETENTION_DAYS.

    The worker does this every hour. The output holds ids only.
    """
    from identity.bootstrap import open_service, retention  # noqa: PLC0415

    service_handle.apply_retention(
        settings_of_command(), open_service, retention, name_of(by), dry_run=dry_run, as_json=as_json
    )


@erasures.command("apply", epilog="Example: identity erasures apply")
def apply(by: By = None, as_json: Json = False) -> None:
    """Erase again the personal data that a restored backup brought back.

    Reads the file that IDENTITY_ERASURE_LEDGER names. Safe to repeat.
    """
    from identity.bootstrap import apply_ledger, open_service  # noqa: PLC0415

    service_handle.apply_erasures(
        settings_of_command(), open_service, apply_ledger, name_of(by), as_json=as_json
    )


async def _serve(settings: "Settings", shared: "SharedAddress | None") -> None:
    from identity.bootstrap import follower_tasks, http_app, open_service  # noqa: PLC0415
    from shared.platform.lifecycle import Supervisor, stop_signals, until_stopped  # noqa: PLC0415
    from shared.web.server import serve as serving  # noqa: PLC0415

    with stop_signals() as stopping:
        async with open_service(settings) as service:
            app = http_app(service, stopping)
            following = Supervisor(follower_tasks(service, "api")).run(stopping)
            address, entrance = (settings.host, settings.port), app.state.entrance
            server = serving(app, *address, stopping, settings.http_limits, shared=shared, entrance=entrance)
            await until_stopped(stopping, following, server)


async def _import(settings: "Settings", file: Path, by: str) -> "Imported":
    from identity.adapters.account_file import read_account_file  # noqa: PLC0415
    from identity.application.dependencies import Context  # noqa: PLC0415
    from identity.application.import_accounts import check_accounts, import_accounts  # noqa: PLC0415
    from identity.bootstrap import open_service  # noqa: PLC0415
    from shared.cli.console import progress_bar  # noqa: PLC0415
    from shared.event_log import Metadata  # noqa: PLC0415

    async with open_service(settings) as service:
        with progress_bar("checking") as progress:
            checked = await check_accounts(read_account_file(file), service.deps, progress)
        if checked.mistakes:
            mistakes = "; ".join(f"line {mistake.number}: {mistake.text}" for mistake in checked.mistakes)
            raise Failed(f"{file}: {mistakes}. Nothing was changed.")
        context = Context(Metadata(by, uuid4()))
        with progress_bar("importing", checked.lines) as progress:
            return await import_accounts(read_account_file(file), context, service.deps, progress)


def _steps(settings: "Settings") -> list[Step]:
    from identity.adapters.configuration import settings_files  # noqa: PLC0415
    from identity.adapters.tables import SCHEMA  # noqa: PLC0415
    from identity.read_models import VIEWS  # noqa: PLC0415

    return [
        *checks.database(settings, SCHEMA, "identity"),
        checks.views(settings, VIEWS, "identity"),
        *checks.files(settings),
        *checks.configuration(settings, partial(settings_files, settings)),
        *checks.sign_in(settings),
        *checks.broker(settings, "identity"),
        checks.message_keys(settings),
        Step(
            "account directory",
            lambda: _directory_answers(settings),
            "see `identity accounts check-directory USERNAME HOME_ISIL`",
            vital=False,
        ),
        Step(
            "catalogues",
            lambda: _catalogues(settings),
            "correct the file that IDENTITY_CATALOGUES names, or see to the account provider",
            vital=False,
        ),
        checks.other_service("registration", settings.registration_url),
        checks.other_log(
            settings,
            "registration",
            "`identity orphans list` shows the guests that were lost there; then see docs/runbook.md,"
            " `The other log ends too early`",
        ),
    ]


async def _catalogues(settings: "Settings") -> str:
    from identity.adapters.catalogues import Catalogues  # noqa: PLC0415
    from identity.application.dependencies import SystemClock  # noqa: PLC0415
    from shared.platform.http_client import HttpClient  # noqa: PLC0415

    async with HttpClient() as http:
        keys = Catalogues(settings.catalogues, http, SystemClock()).keys
        for issuer_keys in keys.values():
            await issuer_keys.ready()
    return f"{len(keys)} account providers, whose keys can be read" if keys else "none: account ids only"


async def _check_directory(settings: "Settings", username: str, home_isil: str, *, as_json: bool) -> bool:
    from identity.bootstrap import open_directory  # noqa: PLC0415
    from identity.cli.check_directory import check_directory, wanted_account  # noqa: PLC0415
    from shared.platform.http_client import HttpClient  # noqa: PLC0415

    wanted = wanted_account(username, home_isil)
    if settings.account_directory is None and settings.account_directory_url is None:
        raise Failed("There is no account directory: set IDENTITY_ACCOUNT_DIRECTORY.")
    async with HttpClient() as http, open_directory(settings, http) as directory:
        return await check_directory(directory, wanted, as_json=as_json)


async def _directory_answers(settings: "Settings") -> str:
    from identity.bootstrap import open_directory  # noqa: PLC0415
    from shared.platform.http_client import HttpClient  # noqa: PLC0415

    async with HttpClient() as http, open_directory(settings, http) as directory:
        await directory.by_id("doctor")
    if settings.account_directory is not None:
        return f"as {settings.account_directory} says"
    return settings.account_directory_url or "none: only accounts that were imported or opened here"
