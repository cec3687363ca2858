"""A sender and a receiver that share nothing but the broker."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from shared.event_log import SCHEMA, PostgresEventLog
from shared.messaging import SCHEMA as MESSAGING_SCHEMA
from shared.platform.postgres import open_pool
from tests.support.messaging import Receiver, Sender, receiving
from tests.support.servers import Databases, migrated

StartRelay = Callable[[], subprocess.Popen[bytes]]
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
async def senders_database(databases: Databases) -> str:
    """The database of the service that sends."""
    url = databases(service="registration")
    await migrated(url, [*SCHEMA, *MESSAGING_SCHEMA])
    return url


@pytest.fixture
async def sender(senders_database: str) -> AsyncIterator[Sender]:
    """A service to which things happen, with a real log."""
    async with (
        await open_pool(senders_database, min_size=3, max_size=6) as pool,
        PostgresEventLog(pool) as log,
    ):
        yield Sender(log)


@pytest.fixture
async def receiver(databases: Databases, sender: Sender) -> AsyncIterator[Receiver]:
    """A service that applies them, on a database of its own."""
    async with receiving(databases(service="identity"), sender) as receiver:
        yield receiver


@pytest.fixture
def start_relay(senders_database: str, amqp_url: str) -> Iterator[StartRelay]:
    """Starts another relay process of the sender's; all are gone when the test ends."""
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.chaos.messaging.relay_process", senders_database, amqp_url]
        processes.append(subprocess.Popen(command, cwd=REPOSITORY))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
