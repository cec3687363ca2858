"""The pages of a counter, over a database of its own, with a sign-in service beside them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from tests.support.counter_pages import CounterSite, open_counter_site
from tests.support.servers import Databases


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with registration's schema, for a counter of a test's own."""
    return databases(scripts=SCHEMA)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counter_site(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CounterSite]:
    """One for all tests of a module: starting it takes longer than most of them."""
    databases = Databases(postgres)
    async with open_counter_site(databases(scripts=SCHEMA), tmp_path_factory.mktemp("site")) as opened:
        yield opened
    databases.drop_all()
