"""Every test here runs on both kinds of log."""

from collections.abc import AsyncIterator

import pytest

from shared.event_log import EventLog
from tests.support.event_log import LogUnderTest, in_memory, in_postgres


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
