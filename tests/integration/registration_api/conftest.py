"""A counter over a fresh database, and callers of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from registration.adapters.tables import SCHEMA
from tests.support.registration_service import RegistrationApp, open_registration_app
from tests.support.servers import Databases


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with registration's schema."""
    return databases(scripts=SCHEMA)


@pytest.fixture
async def registration_app(database: str, tmp_path: Path) -> AsyncIterator[RegistrationApp]:
    """Registration, running."""
    async with open_registration_app(database, tmp_path) as opened:
        yield opened


@pytest.fixture
async def clerk(registration_app: RegistrationApp) -> AsyncIterator[httpx2.AsyncClient]:
    """A clerk of organisation 1001."""
    async with registration_app.client() as client:
        yield client


@pytest.fixture
async def other_clerk(registration_app: RegistrationApp) -> AsyncIterator[httpx2.AsyncClient]:
    """A clerk of organisation 2002."""
    async with registration_app.client(organisation="2002", sub="k.bakker") as client:
        yield client


@pytest.fixture
async def identity(registration_app: RegistrationApp) -> AsyncIterator[httpx2.AsyncClient]:
    """The identity service, reading the feed."""
    async with registration_app.client(scope="feed", organisation=None, sub="identity") as client:
        yield client
