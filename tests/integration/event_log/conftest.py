"""A fresh log for each test."""

import pytest

from tests.support.event_log import LOG_SCHEMA
from tests.support.servers import Databases


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with the schema of a log."""
    return databases(scripts=LOG_SCHEMA)
