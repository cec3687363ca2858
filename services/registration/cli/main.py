"""The command `registration`. Slow imports are made inside the command that needs them."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer

from registration.cli import guest_import, guest_list
from registration.cli.lookups import lookups
from registration.cli.reports import reports
from registration.cli.sessions import sessions
from registration.cli.webhooks import webhooks
from registration.service_handle import SERVICE, settings_of_command
from shared.cli import doctor as checks
from shared.cli import service_handle
from shared.cli.config import config_commands
from shared.cli.console import echo, progress_bar, show_json, show_pairs, show_table
from shared.cli.doctor import Step, diagnose
from shared.cli.events import events_commands
from shared.cli.keys import keys_commands
from shared.cli.parked import parked_commands
from shared.cli.projections import projection_commands
from shared.cli.running import By, Failed, ProcessNumber, in_loop, name_of, run

if TYPE_CHECKING:
    from registration.settings import Settings
    from shared.web.shared_address import SharedAddress

EXAMPLE_ID = "0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11"
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Guest borrowing: the registration service.\n\nExample: registration doctor",
)
isil = typer.Typer(
    no_args_is_help=True,
    help="The card-prefix table.\n\nExample: registration isil import isil_card_prefixes.csv",
)
guests = typer.Typer(
    no_args_is_help=True,
    help=f"Show, check or erase one guest; import guests.\n\nExample: registration guests show {EXAMPLE_ID}",
)
guests.command("import", epilog=guest_import.EXAMPLE)(guest_import.import_)
guests.command("export", epilog=guest_list.EXPORT_EXAMPLE)(guest_list.export)
guests.command("find", epilog=guest_list.FIND_EXAMPLE)(guest_list.find)
app.add_typer(isil, name="isil")
app.add_typer(guests, name="guests")
app.add_typer(reports, name="reports")
app.add_typer(sessions, name="sessions")
app.add_typer(lookups, name="lookups")
app.add_typer(webhooks, name="webhooks")
home_library = typer.Typer(
    no_args_is_help=True,
    help="Check the connection to a home library."
    "\n\nExample: registration home-library probe NL-070288 0990139305",
)
app.add_typer(home_library, name="home-library")
erasures = typer.Typer(
    no_args_is_help=True, help="The ledger of all erasures.\n\nExample: registration erasures apply"
)
app.add_typer(erasures, name="erasures")


GuestId = Annotated[UUID, typer.Argument(metavar="GUEST_ID", help="The guest's id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def main() -> None:
    """Run the command line."""
    run(app, "registration")


app.add_typer(events_commands(SERVICE), name="events")
app.add_typer(parked_commands(SERVICE), name="parked")
app.add_typer(keys_commands(SERVICE), name="keys")
app.add_typer(projection_commands(SERVICE), name="projections")
app.add_typer(config_commands(SERVICE), name="config")


@app.command(epilog="Example: REGISTRATION_PORT=8001 registration serve")
def serve(processes: ProcessNumber = 1) -> None:
    """Run the HTTP service until SIGTERM."""
    from shared.cli.processes import serve_in  # noqa: PLC0415

    settings = settings_of_command()
    serve_in(processes, settings, partial(_serve, settings))


@app.command(epilog="Example: registration work")
def work() -> None:
    """Run the relay, the consumers and the regular tasks until SIGTERM."""
    from registration.worker import work as working  # noqa: PLC0415

    in_loop(working(settings_of_command()))


@app.command(epilog="Example: registration status --json")
def status(as_json: Json = False) -> None:
    """Show how far views and messages are, and the parked guests: what the operators' page shows."""
    service_handle.show_status(SERVICE, as_json=as_json)


@app.command(epilog="Example: registration migrate")
def migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date; running it again changes nothing."""
    from registration.adapters.tables import SCHEMA  # noqa: PLC0415

    service_handle.migrate(settings_of_command(), SCHEMA, as_json=as_json)


@app.command(epilog="Example: registration doctor --json")
def doctor(as_json: Json = False) -> None:
    """Show every setting with its source, check every dependency, and show what to do."""
    from registration.settings import Settings  # noqa: PLC0415

    if not diagnose(Settings, _steps, as_json=as_json):
        raise typer.Exit(1)


@isil.command("import", epilog="Example: registration isil import isil_card_prefixes.csv")
def import_prefixes(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="CSV: organisation_code,organisation,isil,updated_on,card_prefixes, and place if you like",
        ),
    ],
    check: Annotated[
        bool, typer.Option("--check", help="Only show what would change; write nothing.")
    ] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Replace the card-prefix table with the one in FILE, completely or not at all."""
    from shared.kernel.errors import ConfigurationError  # noqa: PLC0415

    who = name_of(by)
    try:
        changes = in_loop(_import_prefixes(settings_of_command(), file, None if check else who))
    except ConfigurationError as error:
        raise Failed(f"{error}. Nothing was changed.") from None
    if as_json:
        show_json(changes)
        return
    verb = "would be imported" if check else "imported"
    echo(f"{changes['prefixes']} card prefixes {verb}.")
    for kind in ("added", "removed", "changed"):
        if changes[kind]:
            echo(f"{kind}: {', '.join(changes[kind])}")


async def _import_prefixes(settings: "Settings", file: Path, by: str | None) -> dict[str, Any]:
    """Return the changes; with `by` None they are only shown."""
    from dataclasses import asdict  # noqa: PLC0415

    from registration.adapters.card_prefixes import PostgresCardPrefixes, read_prefix_file  # noqa: PLC0415

    libraries = read_prefix_file(file)
    async with service_handle.database_of(settings) as pool:
        table = PostgresCardPrefixes(pool)
        return asdict(await (table.changes(libraries) if by is None else table.replace(libraries, by)))


@isil.command("imports", epilog="Example: registration isil imports --json")
def imports(as_json: Json = False) -> None:
    """Show who replaced the card-prefix table, and for which libraries something changed."""
    rows = in_loop(_imports(settings_of_command()))
    if as_json:
        show_json(rows)
    elif rows:
        show_table(tuple(rows[0]), [[str(value) for value in row.values()] for row in rows])
    else:
        echo("The table was not replaced yet.")


async def _imports(settings: "Settings") -> list[dict[str, Any]]:
    from dataclasses import asdict  # noqa: PLC0415

    from registration.adapters.card_prefixes import PostgresCardPrefixes  # noqa: PLC0415

    async with service_handle.database_of(settings) as pool:
        found = await PostgresCardPrefixes(pool).imports(100)
    return [{"imported_at": done.imported_at, "by": done.by, **asdict(done.changes)} for done in found]


@app.command(epilog="Example: registration nightly --json")
def nightly(
    last: Annotated[
        bool, typer.Option("--last", help="Only show the report of the last nightly check.")
    ] = False,
    nights: Annotated[
        int, typer.Option(min=1, max=366, help="With --last: show so many nights, the newest first.")
    ] = 1,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Run the nightly check now: ask all home libraries about terms.

    A second run on the same day asks only about guests without a reply.
    """
    from registration.cli.nightly import read_last, run_now, show_report  # noqa: PLC0415

    settings = settings_of_command()
    if last:
        for report in in_loop(read_last(settings, nights)):
            show_report(report, as_json=as_json)
        return
    report = in_loop(run_now(settings, name_of(by)))
    show_report(report, as_json=as_json)
    if not report.is_complete:
        raise typer.Exit(1)


@app.command(epilog="Example: registration retention --dry-run")
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be erased now.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Erase the guests whose registration ended longer ago than REGISTRATION_RETENTION_DAYS.

    The worker does this every hour. The output holds ids only.
    """
    from registration.bootstrap import open_service, retention  # noqa: PLC0415

    service_handle.apply_retention(
        settings_of_command(), open_service, retention, name_of(by), dry_run=dry_run, as_json=as_json
    )


@app.command(
    epilog="Example: registration load --rate 20 --seconds 60 --first-card 0991000001 --token-file token"
    " --home-isil NL-070288 --branch 9453"
)
def load(
    *,
    rate: Annotated[float, typer.Option(min=0.1, max=5_000, help="Registrations per second.")],
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long.")],
    first_card: Annotated[str, typer.Option(help="The first card number; each next one is one higher.")],
    token_file: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A clerk's access token.")],
    home_isil: Annotated[str, typer.Option(help="The library of the cards.")],
    branch: Annotated[str, typer.Option(help="The branch of the clerk.")],
    url: Annotated[str, typer.Option(help="The registration service.")] = "http://127.0.0.1:8001",
    subscription: Annotated[str | None, typer.Option(help="The code of the subscription.")] = None,
    accounts: Annotated[
        str | None, typer.Option(help="How the id of a login account begins; the card number follows.")
    ] = None,
    own: Annotated[
        bool, typer.Option("--yes-i-own-this", help="The address is not of this machine, and it is mine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Register guests at a steady rate, whatever the answers. They are real registrations: use a test system.

    An answer that takes long holds up no other request, as at real counters.
    """
    from registration.cli.load import Guests, client_settings, register_at, require_own  # noqa: PLC0415
    from shared.platform.http_client import HttpClient  # noqa: PLC0415

    if not first_card.isdecimal():
        raise typer.BadParameter("digits only", param_hint="--first-card")
    require_own(url, own=own)
    guests = Guests(home_isil, branch, subscription, first_card, accounts)

    async def registered() -> dict[str, Any]:
        with progress_bar("registering", round(rate * seconds), "guests") as progress:
            async with HttpClient(**client_settings(url, token_file)) as client:
                measured = await register_at(rate, seconds, guests.bodies(), client, progress)
        return measured.shown()

    shown = in_loop(registered())
    show_json(shown) if as_json else show_pairs(shown)
    if not shown["registered"]:
        raise typer.Exit(1)


@home_library.command("probe", epilog="Example: registration home-library probe NL-070288 0990139305")
def probe(
    isil: Annotated[str, typer.Argument(help="The home library, such as NL-070288.")],
    card: Annotated[str, typer.Argument(help="A card number. The output shows it, and the library's reply.")],
    as_json: Json = False,
) -> None:
    """Ask one home library about a card. Show each step and the verdict; exit code 1 without a verdict."""
    from registration.cli.home_library import probe as probing  # noqa: PLC0415

    if not in_loop(probing(settings_of_command(), isil, card, as_json=as_json)):
        raise typer.Exit(1)


@home_library.command("list", epilog="Example: registration home-library list --json")
def list_libraries(as_json: Json = False) -> None:
    """List the home libraries, and how the last nightly check went there."""
    from registration.cli.home_library import libraries  # noqa: PLC0415

    rows = in_loop(libraries(settings_of_command()))
    if as_json:
        show_json(rows)
    else:
        columns = ("isil", "name", "night", "asked", "left", "problem")
        show_table(columns, [[str(row[name]) for name in columns] for row in rows])


@guests.command("check", epilog=f"Example: registration guests check {EXAMPLE_ID}")
def check(guest_id: GuestId, by: By = None, as_json: Json = False) -> None:
    """Ask the home library about the term of one guest, now."""
    outcome = in_loop(_check(settings_of_command(), guest_id, name_of(by)))
    show_json(outcome) if as_json else show_pairs(outcome)


@guests.command("show", epilog=f"Example: registration guests show {EXAMPLE_ID}")
def show(
    guest_id: GuestId,
    personal_data: Annotated[
        bool, typer.Option("--personal-data", help="Also show all stored data about the person.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show one guest of any organisation, with its history."""
    from registration.cli.guests import print_guest, read_guest  # noqa: PLC0415

    held = in_loop(read_guest(settings_of_command(), guest_id))
    print_guest(held, personal_data=personal_data, as_json=as_json)


@guests.command("erase", epilog=f"Example: registration guests erase {EXAMPLE_ID}")
def erase(
    guest_id: GuestId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation, for scripts.")] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Erase all personal data of one guest permanently."""
    from registration.cli.guests import confirm_erasure, erase_guest  # noqa: PLC0415

    who = name_of(by)
    confirm_erasure(guest_id, yes=yes)
    in_loop(erase_guest(settings_of_command(), guest_id, who))
    if as_json:
        show_json({"guest_id": guest_id, "erased": True})
    else:
        echo(f"The personal data of guest {guest_id} was erased.")


@erasures.command("apply", epilog="Example: registration erasures apply")
def apply(by: By = None, as_json: Json = False) -> None:
    """Erase again the personal data that a restored backup brought back.

    Reads the file that REGISTRATION_ERASURE_LEDGER names. Safe to repeat.
    """
    from registration.bootstrap import apply_ledger, open_service  # noqa: PLC0415

    service_handle.apply_erasures(
        settings_of_command(), open_service, apply_ledger, name_of(by), as_json=as_json
    )


async def _serve(settings: "Settings", shared: "SharedAddress | None") -> None:
    from registration.bootstrap import follower_tasks, http_app, open_service  # noqa: PLC0415
    from shared.platform.lifecycle import Supervisor, stop_signals, until_stopped  # noqa: PLC0415
    from shared.web.server import serve as serving  # noqa: PLC0415

    with stop_signals() as stopping:
        async with open_service(settings) as service:
            app = http_app(service, stopping)
            following = Supervisor(follower_tasks(service, "api")).run(stopping)
            address, entrance = (settings.host, settings.port), app.state.entrance
            server = serving(app, *address, stopping, settings.http_limits, shared=shared, entrance=entrance)
            await until_stopped(stopping, following, server)


async def _check(settings: "Settings", guest_id: UUID, by: str) -> dict[str, object]:
    from registration.application.check_term import check_term  # noqa: PLC0415
    from registration.application.dependencies import Context  # noqa: PLC0415
    from registration.application.show_guest import show_guest  # noqa: PLC0415
    from registration.bootstrap import open_service  # noqa: PLC0415
    from registration.cli.guests import no_such_guest  # noqa: PLC0415
    from registration.domain.guest import Guest  # noqa: PLC0415
    from shared.event_log import Metadata  # noqa: PLC0415

    async with open_service(settings) as service:
        deps = service.deps
        guest = await deps.store.find(Guest, guest_id)
        if guest is None:
            raise no_such_guest(guest_id)
        context = Context(guest.state.organisation, Metadata(by, uuid4()))
        await check_term(guest_id, context, deps)
        view = await show_guest(guest_id, context.organisation, deps)
    return {
        "guest_id": view.guest_id,
        "verdict": view.home.verdict,
        "status": view.status,
        "header": view.header,
        "term_end": view.term.end,
        "stale": view.term.stale,
    }


def _steps(settings: "Settings") -> list[Step]:
    from registration.adapters.configuration import settings_files  # noqa: PLC0415
    from registration.adapters.tables import SCHEMA  # noqa: PLC0415
    from registration.read_models import VIEWS  # noqa: PLC0415

    return [
        *checks.database(settings, SCHEMA, "registration"),
        checks.views(settings, VIEWS, "registration"),
        *checks.files(settings),
        *checks.configuration(settings, partial(settings_files, settings)),
        *checks.sign_in(settings),
        Step(
            "counter's pages",
            partial(_counter_pages, settings),
            "correct the settings REGISTRATION_OIDC_… or REGISTRATION_COUNTER_URL",
        ),
        *checks.broker(settings, "registration"),
        checks.message_keys(settings),
        checks.other_service("identity", settings.identity_url),
        checks.other_log(
            settings,
            "identity",
            "it heals by itself within minutes; else see docs/runbook.md, `The other log ends too early`",
        ),
    ]


async def _counter_pages(settings: "Settings") -> str:
    if settings.oidc_client_id is None:
        return "none: REGISTRATION_OIDC_CLIENT_ID is not set"
    from registration.bootstrap import sign_in_of  # noqa: PLC0415

    await sign_in_of(settings).ready()
    return f"{settings.counter_url}, sign-in at {settings.oidc_issuer}"
