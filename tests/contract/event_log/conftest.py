"""Every test here runs on both kinds of log."""

from collections.abc import AsyncIterator

import pytest

from shared.event_log import EventLog
from tests.support.event_log import LOG_SCHEMA, LogUnderTest, in_memory, in_postgres
from tests.support.servers import Databases


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with the schema of a log."""
    return databases(scripts=LOG_SCHEMA)


@pytest.fixture(params=["in_memory", "postgres"])
async def under_test(request: pytest.FixtureRequest) -> AsyncIterator[LogUnderTest]:
    if request.param == "in_memory":
        async with in_memory() as under_test:
            yield under_test
    else:
        async with in_postgres(request.getfixturevalue("database")) as under_test:
            yield under_test


@pytest.fixture
def log(under_test: LogUnderTest) -> EventLog:
    return under_test.log
