"""Identity over a fresh database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from identity.adapters.tables import SCHEMA
from tests.support.both_services import Pair, open_pair
from tests.support.identity_service import LoginDesk, open_desk
from tests.support.servers import Databases


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with identity's schema."""
    return databases(scripts=SCHEMA)


@pytest.fixture
async def desk(database: str, tmp_path: Path) -> AsyncIterator[LoginDesk]:
    """Identity, running."""
    async with open_desk(database, tmp_path) as opened:
        yield opened


@pytest.fixture
async def pair(databases: Databases, tmp_path: Path) -> AsyncIterator[Pair]:
    """Both services, running."""
    async with open_pair(databases, tmp_path) as opened:
        yield opened
