"""The real servers that tests run against, each with its own data folder and free ports."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import asyncpg

from infra.local.postgres import DatabaseUrls, Postgres, PostgresError, roles_of
from infra.local.rabbitmq import server_script
from shared.platform.postgres import Script, migrate
from tests.support.memory import is_in_memory

_made: dict[str, DatabaseUrls] = {}
"""Each database that was made in this process, by its address for the service."""


def owner_url(url: str) -> str:
    """The address of the same database for the role that owns its tables; any other address as it is."""
    return _made[url].owner if url in _made else url


def reader_url(url: str) -> str:
    """The address of the same database for the role that may only read."""
    return _made[url].reader


async def migrated(url: str, scripts: Sequence[Script]) -> list[str]:
    """Bring a database up to date, as `migrate` does: by its owner, with rights for the service."""
    return await migrate(owner_url(url), scripts, url)


@asynccontextmanager
async def as_owner(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that may change everything in a database, its views too."""
    path = {"search_path": f'public, "{urlsplit(url).username}"'}
    connection = await asyncpg.connect(owner_url(url), server_settings=path)
    try:
        yield connection
    finally:
        await connection.close()


async def execute_as_owner(pool: asyncpg.Pool, statement: str, *arguments: object) -> None:
    """Run a statement that only the owner may run, in the database of these connections."""
    name = await pool.fetchval("SELECT current_database()")
    [url] = [url for url in _made if url.endswith(f"/{name}")]
    async with as_owner(url) as owner:
        await owner.execute(statement, *arguments)


class Databases:
    """Makes fresh databases with three roles each; drops them while the next test runs."""

    _numbers = count(1)
    _templates: ClassVar[dict[tuple[int, str, tuple[str, ...]], str]] = {}

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._names: list[str] = []

    def __call__(self, service: str = "tests", scripts: Sequence[Script] = ()) -> str:
        """The address of a new database for the role of a service, which is made when needed.

        The scripts ran in it, once for all databases that have them: a copy takes a fifth of the time.
        """
        if scripts:
            return self._copy(self._template(service, scripts), service)
        return self._note(self.server.create_database(self._name(service), service))

    def of_one_role(self, service: str) -> str:
        """The address of a new database as the releases before the three roles made it: the service's own."""
        name = self._name(service)
        if service not in self.server.sql("SELECT rolname FROM pg_roles").split():
            self.server.sql(f"CREATE ROLE \"{service}\" LOGIN PASSWORD '{self.server.password(service)}'")
        self.server.sql(f'CREATE DATABASE "{name}" OWNER "{service}"')
        self.server.sql(f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC')
        return self._note(DatabaseUrls(*(self.server.url(name, role) for role in roles_of(service))))

    def give_three_roles(self, url: str) -> None:
        """Run `infra/postgres/roles.sql` over such a database, as an operator does after the upgrade."""
        self.server.create_database(url.rpartition("/")[2], str(urlsplit(url).username))

    def _note(self, urls: DatabaseUrls) -> str:
        _made[urls.service] = urls
        return urls.service

    def _name(self, service: str) -> str:
        name = f"{service}_{next(self._numbers)}"
        self._names.append(name)
        return name

    def _copy(self, template: str, service: str) -> str:
        name = self._name(service)
        urls = DatabaseUrls(*(self.server.url(name, role) for role in roles_of(service)))
        # Copying files begins with a checkpoint: that is quick in memory only.
        how = "FILE_COPY" if is_in_memory(self.server.folder) else "WAL_LOG"
        made = f'CREATE DATABASE "{name}" OWNER "{service}_owner" TEMPLATE "{template}" STRATEGY {how}'
        closed = f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC'
        opened = f'GRANT CONNECT ON DATABASE "{name}" TO "{service}", "{service}_reader"'
        _beside(_executed(self.server.url("postgres"), made, closed, opened))
        another = "UPDATE event_log_identity SET log_id = gen_random_uuid()"
        _beside(_executed(self.server.url(name), another))
        return self._note(urls)

    def _template(self, service: str, scripts: Sequence[Script]) -> str:
        kind = (self.server.port, service, tuple(script.name for script in scripts))
        if kind not in self._templates:
            self._templates[kind] = name = f"{service}_template_{len(self._templates)}"
            url = self._note(self.server.create_database(name, service))
            _beside(migrated(url, scripts))
        return self._templates[kind]

    def drop_all(self) -> None:
        """A drop waits for a checkpoint, the next test need not: those who drop end with the server."""
        for name in self._names:
            threading.Thread(target=self._drop, args=(name,), daemon=True).start()

    def _drop(self, name: str) -> None:
        with contextlib.suppress(PostgresError):  # the server has been stopped meanwhile
            self.server.drop_database(name)


def _beside(work: Coroutine[Any, Any, object]) -> None:
    """Run it in a thread of its own: the caller's own loop may be running."""
    with ThreadPoolExecutor(1) as beside:
        beside.submit(asyncio.run, work).result()


async def _executed(url: str, *statements: str) -> None:
    """Run statements, each in its own transaction: a connection is opened sooner than psql starts."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def install_rabbitmq(translate: Callable[[str], None]) -> None:
    """Tests never do without a real broker: where none is installed, Debian's or Ubuntu's package is.

    `RUNLEVEL=1` keeps the package from starting a broker of the machine's own.
    """
    with installed_alone():
        _install_rabbitmq(translate)


@contextlib.contextmanager
def installed_alone() -> Iterator[None]:
    """Tests run in several processes; apt-get takes one at a time."""
    with (Path(tempfile.gettempdir()) / "landelijk-lenen-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install_rabbitmq(translate: Callable[[str], None]) -> None:
    if server_script() is not None or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return  # nothing to do, or nothing that we may do: the node's start then says what to install
    translate("no rabbitmq-server is installed: installing it with apt-get (the tests need a real broker)")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "rabbitmq-server"]
    if subprocess.run(install, env=environment, check=False).returncode != 0:
        subprocess.run(["apt-get", "update"], env=environment, check=True)
        subprocess.run(install, env=environment, check=True)
