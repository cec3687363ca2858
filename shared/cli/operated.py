"""What the commands for operators have to know of the service that they are of."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.settings import ServiceSettings

if TYPE_CHECKING:  # heavy: only the command that needs them imports them
    import asyncpg

    from shared.event_log.transfer import TransferredTable
    from shared.messaging.inbox import Inbox
    from shared.projections import View
    from shared.projections.building import Source


@dataclass(frozen=True, slots=True)
class OperatedService:
    """One service, at the command line. Everything is opened only by the command that needs it."""

    name: str
    settings: Callable[[], ServiceSettings]
    transferred_tables: Callable[[], "Sequence[TransferredTable]"]
    inbox: Callable[[], "AbstractAsyncContextManager[Inbox]"]
    views: Callable[[], "Sequence[View]"]
    view_source: Callable[[], "Source"]


@asynccontextmanager
async def database_of(settings: ServiceSettings) -> AsyncIterator["asyncpg.Pool"]:
    """The service's database, for one command."""
    from shared.postgres import open_pool  # noqa: PLC0415

    async with await open_pool(settings.database_url.get_secret_value(), min_size=1, max_size=2) as pool:
        yield pool
