"""Identity over a fresh database, and callers of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from identity.adapters.tables import SCHEMA
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
async def wisecat(desk: LoginDesk) -> AsyncIterator[httpx.AsyncClient]:
    """The catalogue where people log in."""
    async with desk.client() as client:
        yield client


@pytest.fixture
async def operator(desk: LoginDesk) -> AsyncIterator[httpx.AsyncClient]:
    """Who may see and open accounts."""
    async with desk.client("accounts", "operator") as client:
        yield client
