"""A newcomer's Monday: every command of docs/monday.md, in order, in one shell, against real servers.

The servers are "yours": a PostgreSQL, a RabbitMQ, and three that nobody here wrote (a sign-in service, an
account directory, a home library). What the page shows below a command must be in its output.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from infra.local.ports import LOOPBACK, free_port
from infra.local.postgres import SUPERUSER, Postgres, binary
from infra.local.rabbitmq import RabbitMQ, server_script
from tests.support.commands import without_settings_of_services
from tests.support.home_libraries import make_authority
from tests.support.memory import servers_folder
from tests.support.page import Shell, run_all
from tests.support.peers.oidc_provider import OidcProvider, oidc_provider
from tests.support.peers.sip2 import PACKAGES, VALID, sip2_peer
from tests.support.peers.slapd import BASE, PASSWORD, READER, LdapUser, slapd
from tests.support.servers import install_rabbitmq

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "monday.md"
HOME = "NL-070288"
USERNAME, ACCOUNT = "zoe.brouwer", "acc-zoe"
IMPORTED = 1000
PROGRAMS = {
    "identity": {},
    "desk": {"organisation": "1001"},
    "catalogue": {"organisation": "1001"},
}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("monday")
    installed = folder / "product"
    installed.mkdir()
    for name in ("Makefile", "infra", "docs", ".venv"):
        (installed / name).symlink_to(ROOT / name)
    with your_servers(folder) as variables:
        inherited = without_settings_of_services(os.environ)
        opened = Shell(installed, {**inherited, "PYTHON": str(ROOT / ".venv/bin/python"), **variables})
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def your_servers(folder: Path) -> Iterator[dict[str, str]]:
    """All the servers that the page needs, started side by side: the variables that name them."""
    install_rabbitmq(translate=print)
    with ExitStack() as stack:
        places = [stack.enter_context(servers_folder(f"monday-{name}")) for name in ("postgres", "rabbitmq")]
        database, broker = Postgres(places[0]), RabbitMQ(places[1])
        # A process ends with the thread that started it, so the threads stay.
        beside = stack.enter_context(ThreadPoolExecutor(2))
        for server in (database, broker):
            stack.callback(server.stop)
        started = [beside.submit(server.start) for server in (database, broker)]
        sign_in = stack.enter_context(
            oidc_provider(counter="http://127.0.0.1:1", people={}, programs=PROGRAMS)
        )
        home = stack.enter_context(sip2_peer(PACKAGES[0]))
        variables = _directory(stack, folder) | _tokens(sign_in)
        for start in started:
            start.result()
        yield (
            variables
            | _database(database)
            | _broker(broker, folder)
            | _ports()
            | {
                "SIGN_IN": sign_in.url,
                "SIGN_IN_SECRET": sign_in.service_secret,
                "HOME_HOST": LOOPBACK,
                "HOME_PORT": str(home.port),
                "HOME_USERNAME": "gast",
                "HOME_PASSWORD": "geheim",
                "HOME_CARD": VALID,
                "HOME_ACCOUNT": USERNAME,
            }
        )


def _directory(stack: ExitStack, folder: Path) -> dict[str, str]:
    """A directory with the accounts of all guests of the page."""
    authority = make_authority(folder)
    authority.server("localhost")
    both = folder / "localhost.pem"
    zoe = LdapUser(USERNAME, ACCOUNT, "zoe@voorbeeld.nl", HOME, VALID)
    others = [
        LdapUser(f"lid{n:04}", f"acc-{n:04}", f"lid{n:04}@voorbeeld.nl", HOME, f"0991{n:06}")
        for n in range(1, IMPORTED + 1)
    ]
    server = stack.enter_context(slapd([zoe, *others], folder / "slapd", certificate=both, key=both))
    return {
        "DIRECTORY": f"ldap://localhost:{server.port}",
        "DIRECTORY_BASE": BASE,
        "DIRECTORY_READER": READER,
        "DIRECTORY_PASSWORD": PASSWORD,
        "DIRECTORY_CA": str(authority.file),
    }


def _tokens(sign_in: OidcProvider) -> dict[str, str]:
    wanted = {
        "CLERK_TOKEN": ("desk", "counter", "urn:registration"),
        "CATALOGUE_TOKEN": ("catalogue", "login", "urn:identity"),
    }
    tokens = {}
    for name, (client, scope, resource) in wanted.items():
        form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
        reply = httpx2.post(f"{sign_in.url}/token", data=form, auth=(client, sign_in.service_secret))
        assert reply.status_code == 200, reply.text
        tokens[name] = str(reply.json()["access_token"])
    return tokens


def _database(server: Postgres) -> dict[str, str]:
    programs = Path(binary("psql")).parent
    return {
        "PGHOST": LOOPBACK,
        "PGPORT": str(server.port),
        "PGPASSWORD": server.password(SUPERUSER),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }


def _broker(server: RabbitMQ, folder: Path) -> dict[str, str]:
    """The address; and `rabbitmqctl` as on the broker's machine: it knows its node by itself."""
    script = server_script()
    assert script is not None
    folder = folder / "bin"
    folder.mkdir()
    known = server.node.environment or {}
    names = ("HOME", "ERL_EPMD_PORT", "RABBITMQ_NODENAME", "RABBITMQ_CONF_ENV_FILE")
    variables = " ".join(f"'{name}={known[name]}'" for name in names)
    command = folder / "rabbitmqctl"
    command.write_text(f'#!/bin/sh\nexec env {variables} {script.with_name("rabbitmqctl")} "$@"\n')
    command.chmod(0o755)
    return {"RABBITMQ": f"{LOOPBACK}:{server.port}", "BROKER_PROGRAMS": str(folder)}


def _ports() -> dict[str, str]:
    names = ("REGISTRATION_PORT", "IDENTITY_PORT", "REGISTRATION_WORKER_PORT", "IDENTITY_WORKER_PORT")
    return {name: str(free_port()) for name in names}


def test_every_command_of_the_page_works_and_prints_what_the_page_shows(shell: Shell) -> None:
    shell.run('PATH="$BROKER_PROGRAMS:$PATH"')
    run_all(shell, PAGE.read_text("utf-8"))
