"""The service handle of identity, for the commands that both services share.

Heavy modules are imported by the function that needs them, so that a command starts fast.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.cli.service_handle import ServiceHandle

if TYPE_CHECKING:
    from identity.settings import Settings
    from shared.configuration.files import SettingsFile
    from shared.event_log.export import TransferredTable
    from shared.projections import View
    from shared.projections.rebuild import Source
    from shared.web.operations import LocalOperations


def settings_of_command() -> "Settings":
    """Read the settings from the environment and configure logging."""
    from identity.settings import Settings  # noqa: PLC0415
    from shared.platform.logging import configure_logging  # noqa: PLC0415

    settings = Settings.from_environment()
    configure_logging("identity", settings.log_level)
    return settings


def _transferred_tables() -> "Sequence[TransferredTable]":
    from identity.adapters.tables import TRANSFERRED_TABLES  # noqa: PLC0415

    return TRANSFERRED_TABLES


@asynccontextmanager
async def _operations() -> "AsyncIterator[LocalOperations]":
    from identity.bootstrap import open_service, operations_of  # noqa: PLC0415

    async with open_service(settings_of_command()) as service:
        yield operations_of(service)


def _views() -> "Sequence[View]":
    from identity.read_models import VIEWS  # noqa: PLC0415

    return VIEWS


def _view_source() -> "Source":
    from identity.bootstrap import view_source  # noqa: PLC0415

    return view_source(settings_of_command())


def _files() -> "Mapping[str, SettingsFile]":
    from identity.adapters.configuration import settings_files  # noqa: PLC0415

    return settings_files(settings_of_command())


SERVICE = ServiceHandle(
    "identity", settings_of_command, _transferred_tables, _operations, _views, _view_source, _files
)
