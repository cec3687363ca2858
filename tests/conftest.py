"""The servers that tests ask for by name: real ones, started once, each test with a database of its own."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog

from infra.local.postgres import Postgres
from infra.local.rabbitmq import RabbitMQ

pytest.register_assert_rewrite("tests.support")  # so that its assertions show values; before it is imported

from tests.support import peers  # noqa: E402
from tests.support.memory import servers_folder  # noqa: E402
from tests.support.servers import Databases, install_rabbitmq  # noqa: E402

_vhosts = count(1)
MEETS_ALL_PEERS = Path(__file__).parent / "integration" / "peers"
INSTALLING = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the first worker install foreign peers while other tests run, if tests will meet all of them."""
    is_first = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"
    if is_first and any(item.path.is_relative_to(MEETS_ALL_PEERS) for item in session.items):
        command = ["nice", sys.executable, "-m", "tests.support.peers"]
        session.stash[INSTALLING] = subprocess.Popen(command, cwd=session.config.rootpath)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that prints which foreign peers this worker met."""
    if (installing := session.stash.get(INSTALLING, None)) is not None:
        installing.terminate()
        installing.wait()
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["peers"] = peers.all_met()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object | None) -> None:
    for peer in getattr(node, "workeroutput", {}).get("peers", []):
        peers.met(peer)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each foreign implementation that tests met, with its version."""
    if found := peers.all_met():
        terminalreporter.section("foreign peers")
        for peer in found:
            terminalreporter.line(peer)


@pytest.fixture(autouse=True)
def as_quiet_as_before() -> Iterator[None]:
    """A command that a test runs in this process sets up logging; the next test has its own again."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Our own PostgreSQL server, durable as in production (fsync, full_page_writes, synchronous_commit)."""
    with servers_folder("postgres") as folder:
        server = Postgres(folder)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def databases(postgres: Postgres) -> Iterator[Databases]:
    """Makes fresh databases: `databases()`, with a schema (`scripts`), for a role of its own (`owner`)."""
    made = Databases(postgres)
    yield made
    made.drop_all()


@pytest.fixture
def database(databases: Databases) -> str:
    """The address of a fresh, empty database."""
    return databases()


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest) -> Iterator[RabbitMQ]:
    """Our own RabbitMQ node, of the installed server (installed now where apt-get can)."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        install_rabbitmq(translate=print)
    with servers_folder("rabbitmq") as folder:
        node = RabbitMQ(folder)
        node.start()
        yield node
        node.stop()


@pytest.fixture
def amqp_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """The address of a fresh virtual host: no exchange or queue of another test."""
    name = f"test_{next(_vhosts)}"
    yield rabbitmq.create_vhost(name)
    rabbitmq.delete_vhost(name)
