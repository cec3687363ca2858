"""A PostgreSQL server of our own, from a wheel: no root, no Docker, nothing of the machine's touched."""

import functools
import hashlib
import hmac
import locale
import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from infra.local import psql
from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import Program
from infra.local.psql import PostgresError, binary

SUPERUSER = "postgres"
NOBODY = 65534
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@dataclass
class Postgres:
    """One server: its data in `folder`, on a free port of 127.0.0.1 only, a password for every role.

    As root it runs in a user namespace in which root's files are another user's: PostgreSQL refuses to run as
    root, and so it needs no other user, no chown, and no folder made readable to the world.
    """

    folder: Path
    port: int = 0
    program: Program = field(init=False)

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.port = self.port or free_port()
        settings = {
            **DURABLE,
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",  # a socket's path may be 107 bytes long, a folder's may be longer
            "max_connections": "300",
            "timezone": "UTC",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.program = Program(
            name="postgres",
            command=[*as_ordinary_user(), binary("postgres"), "-D", str(self.data), *options],
            log=self.folder / "postgres.log",
            stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back, nobody is waited for
            death_signal=signal.SIGQUIT,
        )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, timeout: float = 30.0) -> None:
        """Make the data folder when there is none, start the server, return when it answers."""
        self.prepare()
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if time.monotonic() > deadline:
                self.stop()
                raise PostgresError(
                    f"PostgreSQL did not start; the end of {self.program.log}:\n{self._why()}"
                )
            if not self.program.running:  # also: again, while a server that lost its parent leaves the folder
                self.program.spawn()
            time.sleep(0.03)

    def prepare(self) -> None:
        """Make the data folder, unless it is there."""
        if (self.data / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # of an initdb that was cut short
        _own(self.folder)
        secret = self.folder / "superuser"
        secret.touch(mode=0o600)
        secret.write_text(self.password(SUPERUSER))
        _own(secret)
        layout = (f"--pgdata={self.data}", "--encoding=UTF8", f"--locale={_locale()}")
        login = (f"--username={SUPERUSER}", f"--pwfile={secret}", "--auth=scram-sha-256")
        _run([*as_ordinary_user(), binary("initdb"), *layout, *login], self.folder)
        secret.unlink()

    def stop(self) -> None:
        """Fast shutdown; when this returns no process is left, and the folder can be started again."""
        self.program.stop(grace=8)

    def is_ready(self) -> bool:
        """Whether it takes statements."""
        return self.program.running and psql.answers(self.url("postgres"))

    def url(self, database: str, role: str = SUPERUSER) -> str:
        return f"postgresql://{role}:{self.password(role)}@{LOOPBACK}:{self.port}/{database}"

    def sql(self, statements: str, database: str = "postgres") -> str:
        """Run statements as superuser; what they print. Raises PostgresError with the server's words."""
        return psql.sql(self.url(database), statements)

    def create_database(self, name: str, owner: str) -> str:
        """A database that only its owner can connect to, unless it is there already; its address."""
        return psql.create_database(self.url("postgres"), name, owner, self.password(owner))

    def drop_database(self, name: str) -> None:
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def password(self, role: str) -> str:
        """Each role's own, made from one secret of this server's folder."""
        return hmac.new(self._secret(), role.encode(), hashlib.sha256).hexdigest()[:32]

    def _secret(self) -> bytes:
        path = self.folder / "secret"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32))
        return path.read_bytes()

    def _spawn_again(self) -> None:
        """A server that lost its parent may need a moment to leave the folder; any other death is final."""
        started_before = self.program.process is not None
        if started_before and "postmaster.pid" not in self.program.last_words():
            raise PostgresError(f"PostgreSQL did not start; {self.program.log} ends:\n{self._why()}")
        self.program.spawn()

    def _why(self) -> str:
        words = self.program.last_words()
        if "Permission denied" in words:
            return f"{words}\n{unreachable(self.folder)}"
        return words


@functools.cache
def as_ordinary_user() -> tuple[str, ...]:
    """A prefix for commands that refuse to run as root. It replaces itself by the command: the pid stays."""
    if os.geteuid() != 0:
        return ()
    namespace = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0:
        return namespace
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def unreachable(folder: Path) -> str:
    """What to do when this system refuses user namespaces and the folder lies below one of root's."""
    return (
        f"This system refuses user namespaces, so PostgreSQL runs as `nobody`, who cannot reach {folder}"
        " or the Python environment: put both below a folder that others may enter (RUN_DIR=/var/tmp/…),"
        " or run as an ordinary user."
    )


def _own(path: Path) -> None:
    """Give a path to the user that the server runs as, where that is not us."""
    if "setpriv" in as_ordinary_user():
        os.chown(path, NOBODY, NOBODY)


def _locale() -> str:
    """C.UTF-8 folds the case of é and ü, and sorts alike everywhere; not every system has it."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    else:
        return "C.UTF-8"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = f"{done.stdout}{done.stderr}".strip()
        hint = unreachable(folder) if "Permission denied" in words else ""
        raise PostgresError(f"PostgreSQL could not make {folder}:\n{words}\n{hint}".strip())
