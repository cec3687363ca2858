"""The work of `events export` and `events import`."""

from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from shared.cli.files import complete_file, file_to_read
from shared.cli.operated import OperatedService, database_of
from shared.cli.operator_token import operator_at_work
from shared.cli.progress import progress_bar
from shared.cli.running import Failed, in_loop
from shared.settings import ServiceSettings

if TYPE_CHECKING:
    from shared.event_log.transfer import Opener, Terms


def write_log(service: OperatedService, path: Path, *, decrypt: bool) -> dict[str, Any]:
    """Export the log; what was exported."""
    settings = service.settings()
    opener = in_loop(_opener(settings)) if decrypt else None
    with complete_file(path) as file:
        return in_loop(_export(settings, _terms(service, settings), file, opener))


def read_log(service: OperatedService, path: Path) -> dict[str, Any]:
    """Import a log; what was imported. Raises Failed, and then nothing was."""
    from shared.event_log.transfer import FileRefused, LogNotEmpty  # noqa: PLC0415

    settings = service.settings()
    try:
        with file_to_read(path) as file:
            return in_loop(_import(settings, _terms(service, settings), file))
    except FileRefused as refused:
        raise Failed(f"{path}: {refused}. Nothing was imported.") from None
    except LogNotEmpty as error:
        raise Failed(
            f"The log is not empty (there is something in {error}): make a new database, run"
            f" `{service.name} migrate`, and import before the service is started."
        ) from None


async def _opener(settings: ServiceSettings) -> "Opener":
    import structlog  # noqa: PLC0415

    from shared.event_log import MasterKeys  # noqa: PLC0415
    from shared.event_log.transfer import Opener  # noqa: PLC0415

    by = await operator_at_work(settings)
    structlog.get_logger().warning("event_log.decrypting", by=by)
    return Opener(MasterKeys.from_file(settings.master_key_file))


async def _export(
    settings: ServiceSettings, terms: "Terms", file: IO[bytes], opener: "Opener | None"
) -> dict[str, Any]:
    from shared.event_log.transfer import export_log  # noqa: PLC0415

    async with database_of(settings) as pool, pool.acquire() as connection:
        with progress_bar("exporting", unit="events") as progress:
            return asdict(await export_log(connection, terms, file.write, progress, opener))


async def _import(settings: ServiceSettings, terms: "Terms", file: IO[bytes]) -> dict[str, Any]:
    from shared.event_log.transfer import import_log  # noqa: PLC0415

    async with database_of(settings) as pool, pool.acquire() as connection:
        with progress_bar("importing", unit="events") as progress:
            return asdict(await import_log(connection, terms, file, progress))


def _terms(service: OperatedService, settings: ServiceSettings) -> "Terms":
    from shared.event_log.transfer import Terms, sealing_keys  # noqa: PLC0415

    return Terms(service.name, service.transferred_tables(), sealing_keys(settings.master_key_file))
