"""The real servers that tests run against, each with its own data folder and free ports."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

from infra.local.postgres import Postgres
from infra.local.psql import PostgresError
from infra.local.rabbitmq import server_script


class Databases:
    """Makes fresh, empty databases, each closed to all but its owner; drops them while the next test runs."""

    _numbers = count(1)

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._made: list[str] = []

    def __call__(self, owner: str = "tests") -> str:
        """The address of a new database, to which only the role `owner` (made when needed) can connect."""
        name = f"{owner}_{next(self._numbers)}"
        self._made.append(name)
        return self.server.create_database(name, owner)

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


def install_rabbitmq(say: Callable[[str], None]) -> None:
    """Tests never do without a real broker: where none is installed, Debian's or Ubuntu's package is.

    `RUNLEVEL=1` keeps the package from starting a broker of the machine's own.
    """
    with (Path(tempfile.gettempdir()) / "landelijk-lenen-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes; apt-get takes one at a time
        _install_rabbitmq(say)


def _install_rabbitmq(say: Callable[[str], None]) -> None:
    if server_script() is not None or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return  # nothing to do, or nothing that we may do: the node's start then says what to install
    say("no rabbitmq-server is installed: installing it with apt-get (the tests need a real broker)")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "rabbitmq-server"]
    if subprocess.run(install, env=environment, check=False).returncode != 0:
        subprocess.run(["apt-get", "update"], env=environment, check=True)
        subprocess.run(install, env=environment, check=True)
