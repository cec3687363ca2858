"""Two counters over one database, each with a pool and a log of its own, as two processes have."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from registration.adapters.registration_index import PostgresRegistrations, PostgresTermChecks
from registration.adapters.tables import SCHEMA
from registration.application import nightly_check
from registration.settings import Settings
from shared.event_log import MasterKeys, PostgresDataKeys, PostgresEventLog
from shared.platform.postgres import open_pool
from tests.support.installation import put_into_environment
from tests.support.registration import ALIASES, RegistrationUseCases, registration_over
from tests.support.registration_service import NightlyApp, open_nightly_app, settings_in
from tests.support.servers import Databases
from tests.support.tokens import Signer


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with registration's schema."""
    return databases(scripts=SCHEMA)


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections to it."""
    async with await open_pool(database, min_size=1, max_size=4) as opened:
        yield opened


@pytest.fixture
async def two_registrations(
    pool: asyncpg.Pool, database: str
) -> AsyncIterator[tuple[RegistrationUseCases, RegistrationUseCases]]:
    """The use cases of two processes, over one database."""
    master_keys = MasterKeys([os.urandom(32)])
    async with AsyncExitStack() as opened:
        made = []
        for _ in range(2):
            own = await opened.enter_async_context(await open_pool(database, min_size=3, max_size=6))
            log = await opened.enter_async_context(PostgresEventLog(own))
            data_keys, registrations = PostgresDataKeys(own, master_keys), PostgresRegistrations(own)
            await registrations.follow(ALIASES)
            made.append(registration_over(log, data_keys, registrations, PostgresTermChecks(own)))
        yield made[0], made[1]


@pytest.fixture
def registration_use_cases(
    two_registrations: tuple[RegistrationUseCases, RegistrationUseCases],
) -> RegistrationUseCases:
    """The use cases of one process."""
    return two_registrations[0]


@pytest.fixture
def settings(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of an installation with an empty database."""
    made = settings_in(tmp_path, database, Signer(tmp_path / "jwks.json"))
    put_into_environment(made, monkeypatch)
    return made


@pytest.fixture
async def nightly_app(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[NightlyApp]:
    """Registration with the nightly check; a library that did not reply is asked again at once."""
    monkeypatch.setattr(nightly_check, "SECOND_TRY_SECONDS", 0.0)
    async with open_nightly_app(database, tmp_path) as opened:
        yield opened
