"""What the commands that both services have must know of a service, and the simplest of these commands."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from shared.cli.console import echo, show_json, show_table
from shared.cli.running import Failed, in_loop

if TYPE_CHECKING:
    import asyncpg

    from shared.configuration.files import SettingsFile
    from shared.event_log import ErasedAgain
    from shared.event_log.export import TransferredTable
    from shared.event_log.retention import Retention
    from shared.platform.postgres import Script
    from shared.platform.settings import ServiceSettings
    from shared.projections import View
    from shared.projections.rebuild import Source
    from shared.web.operations import LocalOperations


@dataclass(frozen=True, slots=True)
class ServiceHandle:
    """One service, as the common commands see it. Each part is opened only by the command that needs it."""

    name: str
    settings: Callable[[], "ServiceSettings"]
    transferred_tables: Callable[[], "Sequence[TransferredTable]"]
    operations: Callable[[], "AbstractAsyncContextManager[LocalOperations]"]
    views: Callable[[], "Sequence[View]"]
    view_source: Callable[[], "Source"]
    files: Callable[[], "Mapping[str, SettingsFile]"]


@asynccontextmanager
async def database_of(
    settings: "ServiceSettings", *, as_owner: bool = False
) -> AsyncIterator["asyncpg.Pool"]:
    """Open the service's database for one command, for the service's role or for the owner's (ADR 0021)."""
    from shared.platform import limits  # noqa: PLC0415
    from shared.platform.postgres import open_pool  # noqa: PLC0415

    url = settings.owner_url if as_owner else settings.database_url.get_secret_value()
    async with await open_pool(url, min_size=1, max_size=2, statement=limits.COMMAND) as pool:
        yield pool


K = TypeVar("K", bound="ServiceSettings")
S = TypeVar("S")


def migrate(settings: "ServiceSettings", schema: "Sequence[Script]", *, as_json: bool) -> None:
    """Bring the schema and the rights of the database roles up to date, and print which scripts ran."""
    from shared.platform import postgres  # noqa: PLC0415

    ran = in_loop(postgres.migrate(settings.owner_url, schema, settings.database_url.get_secret_value()))
    if as_json:
        show_json({"ran": ran})
    else:
        echo("\n".join(ran) or "The schema is up to date.")


def show_status(service: ServiceHandle, *, as_json: bool) -> None:
    """Print the state of views and messages, and the parked subjects: what operators see on their page."""

    async def overview() -> dict[str, Any]:
        async with service.operations() as operations:
            return (await operations.overview()).model_dump(mode="json")

    state = in_loop(overview())
    if as_json:
        show_json(state)
        return
    for title, columns in STATUS_TABLES.items():
        rows = [[_cell(row[column]) for column in columns] for row in state[title]]
        if rows:
            show_table(columns, rows, f"\n{title.replace('_', ' ')}")
    if lost := state["other_log"]:
        ends = (
            f"the log of the other service ended at {lost['head']}, up to {lost['seen']} had been processed"
        )
        echo(f"\nSince {lost['noticed_at']}: {ends}. `{service.name} doctor` says what to do.")
    echo(f"\n{state['parked_total']} parked guests, {state['unreadable']} unreadable messages.")


STATUS_TABLES = {
    "views": ("name", "position", "lag", "live", "failure"),
    "queues": ("name", "position", "lag", "live"),
    "broker_faults": ("name", "since", "reason"),
    "parked": ("guest_id", "state", "since", "attempts", "reason"),
    "settings_refused": ("process", "digest", "failure"),
}


def _cell(value: object) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


def apply_erasures(
    settings: K,
    open_service: Callable[[K], AbstractAsyncContextManager[S]],
    apply_ledger: Callable[[S, str], "Awaitable[ErasedAgain]"],
    by: str,
    *,
    as_json: bool,
) -> None:
    """Apply the erasure ledger again, and print for how many subjects data was erased.

    Raises Failed when a subject could not be erased.
    """
    if settings.erasure_ledger is None:
        raise Failed(
            f"{settings.prefix()}ERASURE_LEDGER is not set, so there is no erasure ledger to apply. Set it."
        )

    async def applied() -> "ErasedAgain":
        async with open_service(settings) as service:
            return await apply_ledger(service, by)

    done = in_loop(applied())
    if as_json:
        show_json({"erased": done.erased, "failed": named(done.failed)})
    else:
        echo(f"Subjects whose personal data was erased again: {done.erased}.")
    require_no_failures(done.failed, settings.prefix().rstrip("_").lower())


def named(failed: Mapping[UUID, str]) -> dict[str, str]:
    """Return the subjects that failed as JSON: id -> kind of error."""
    return {str(subject_id): kind for subject_id, kind in failed.items()}


def apply_retention(
    settings: K,
    open_service: Callable[[K], AbstractAsyncContextManager[S]],
    retention: Callable[..., "Awaitable[Retention]"],
    by: str,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Apply the retention period, or only find what it concerns; print the ids.

    `retention` is that of the service's bootstrap. Raises Failed when a subject could not be handled.
    """
    if settings.retention_days is None:
        raise Failed(f"{settings.prefix()}RETENTION_DAYS is not set, so no retention period applies. Set it.")

    async def applied() -> "Retention":
        async with open_service(settings) as service:
            return await retention(service, settings.retention_days, by, dry_run=dry_run)

    done = in_loop(applied())
    if as_json:
        show_json({"dry_run": dry_run, "erased": done.erased, "failed": named(done.failed)})
    else:
        echo(f"{'Would be erased' if dry_run else 'Erased'}: {len(done.erased)}.")
        for subject_id in done.erased:
            echo(str(subject_id))
    require_no_failures(done.failed, settings.prefix().rstrip("_").lower())


MOST_NAMED = 10


def require_no_failures(failed: Mapping[UUID, str], service: str) -> None:
    """Raise Failed when a task had to skip subjects. The text names the first MOST_NAMED."""
    if not failed:
        return
    names = [f"{subject_id} ({kind})" for subject_id, kind in failed.items()]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    raise Failed(
        f"{len(names)} could not be handled and were skipped: {', '.join(names[:MOST_NAMED])}{more}."
        f" `{service} events show ID` shows what is stored. Run this again when the cause is gone."
    )
