"""Both services over fresh databases, with one sign-in service."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from identity.adapters.tables import SCHEMA as IDENTITYS_SCHEMA
from registration.adapters.tables import SCHEMA
from tests.support.identity_service import IdentityApp, open_identity_app
from tests.support.registration_service import RegistrationApp, open_registration_app
from tests.support.servers import Databases


@pytest.fixture
async def registration_app(databases: Databases, tmp_path: Path) -> AsyncIterator[RegistrationApp]:
    """Registration, running."""
    async with open_registration_app(databases(scripts=SCHEMA), tmp_path) as opened:
        yield opened


@pytest.fixture
async def identity_app(
    databases: Databases, tmp_path: Path, registration_app: RegistrationApp
) -> AsyncIterator[IdentityApp]:
    """Identity, running, with the sign-in service of registration."""
    database = databases(scripts=IDENTITYS_SCHEMA)
    async with open_identity_app(database, tmp_path, signer=registration_app.signer) as opened:
        yield opened
