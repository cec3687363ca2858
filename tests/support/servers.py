"""The real servers that tests run against, each with its own data folder and free ports."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import ClassVar

from infra.local import postgres
from infra.local.postgres import Postgres, PostgresError
from infra.local.rabbitmq import server_script
from shared.platform.postgres import migrate

Scripts = Sequence[tuple[str, str]]


class Databases:
    """Makes fresh databases, each closed to all but its owner; drops them while the next test runs."""

    _numbers = count(1)
    _templates: ClassVar[dict[tuple[int, str, tuple[str, ...]], str]] = {}

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._made: list[str] = []

    def __call__(self, owner: str = "tests", scripts: Scripts = ()) -> str:
        """The address of a new database, to which only the role `owner` (made when needed) can connect.

        The scripts ran in it, once for all databases that have them: a copy takes a fifth of the time.
        """
        if scripts:
            return self._copy(self._template(owner, scripts), owner)
        return self.server.create_database(self._name(owner), owner)

    def _name(self, owner: str) -> str:
        name = f"{owner}_{next(self._numbers)}"
        self._made.append(name)
        return name

    def _copy(self, template: str, owner: str) -> str:
        name = self._name(owner)
        made = f'CREATE DATABASE "{name}" OWNER "{owner}" TEMPLATE "{template}"'
        closed = f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC'
        postgres.sql(self.server.url("postgres"), made, closed)
        self.server.sql("UPDATE event_log_identity SET log_id = gen_random_uuid()", database=name)
        return self.server.url(name, owner)

    def _template(self, owner: str, scripts: Scripts) -> str:
        kind = (self.server.port, owner, tuple(name for name, _ in scripts))
        if kind not in self._templates:
            self._templates[kind] = name = f"{owner}_template_{len(self._templates)}"
            url = self.server.create_database(name, owner)
            with ThreadPoolExecutor(1) as beside:  # the caller's own loop may be running
                beside.submit(asyncio.run, migrate(url, scripts)).result()
        return self._templates[kind]

    def superuser_url(self, url: str) -> str:
        """The address of the same database for the superuser (to make roles, to watch from outside)."""
        return self.server.url(url.rpartition("/")[2])

    def drop_all(self) -> None:
        """A drop waits for a checkpoint, the next test need not: those who drop end with the server."""
        for name in self._made:
            threading.Thread(target=self._drop, args=(name,), daemon=True).start()

    def _drop(self, name: str) -> None:
        with contextlib.suppress(PostgresError):  # the server has been stopped meanwhile
            self.server.drop_database(name)


def install_rabbitmq(translate: Callable[[str], None]) -> None:
    """Tests never do without a real broker: where none is installed, Debian's or Ubuntu's package is.

    `RUNLEVEL=1` keeps the package from starting a broker of the machine's own.
    """
    with (Path(tempfile.gettempdir()) / "landelijk-lenen-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes; apt-get takes one at a time
        _install_rabbitmq(translate)


def _install_rabbitmq(translate: Callable[[str], None]) -> None:
    if server_script() is not None or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return  # nothing to do, or nothing that we may do: the node's start then says what to install
    translate("no rabbitmq-server is installed: installing it with apt-get (the tests need a real broker)")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "rabbitmq-server"]
    if subprocess.run(install, env=environment, check=False).returncode != 0:
        subprocess.run(["apt-get", "update"], env=environment, check=True)
        subprocess.run(install, env=environment, check=True)
