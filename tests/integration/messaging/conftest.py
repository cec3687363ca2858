"""A sender and a receiver for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.messaging import RECEIVER_SCHEMA, Receiver, Sender, receiving
from tests.support.servers import Databases


@pytest.fixture
def sender() -> Sender:
    """A service to which things happen."""
    return Sender()


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with a receiver's schema."""
    return databases(scripts=RECEIVER_SCHEMA)


@pytest.fixture
async def receiver(database: str, sender: Sender) -> AsyncIterator[Receiver]:
    """A service that applies them, on a database of its own."""
    async with receiving(database, sender) as receiver:
        yield receiver
