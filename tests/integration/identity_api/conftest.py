"""Identity over a fresh database, and callers of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from identity.adapters.tables import SCHEMA
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
async def wisecat(identity_app: IdentityApp) -> AsyncIterator[httpx2.AsyncClient]:
    """The catalogue where people log in."""
    async with identity_app.client() as client:
        yield client


@pytest.fixture
async def operator(identity_app: IdentityApp) -> AsyncIterator[httpx2.AsyncClient]:
    """Who may see and open accounts."""
    async with identity_app.client("accounts", "operator") as client:
        yield client
