"""Identity over a fresh database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from identity.adapters.tables import SCHEMA
from tests.support.both_services import BothServices, open_both_services
from tests.support.identity_service import IdentityApp, open_identity_app
from tests.support.servers import Databases


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with identity's schema."""
    return databases(scripts=SCHEMA)


@pytest.fixture
async def identity_app(database: str, tmp_path: Path) -> AsyncIterator[IdentityApp]:
    """Identity, running."""
    async with open_identity_app(database, tmp_path) as opened:
        yield opened


@pytest.fixture
async def both_services(databases: Databases, tmp_path: Path) -> AsyncIterator[BothServices]:
    """Both services, running."""
    async with open_both_services(databases, tmp_path) as opened:
        yield opened
