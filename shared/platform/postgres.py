"""PostgreSQL: a pool of connections, one connection kept for a task, and bringing a schema up to date."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import asyncpg

from shared.kernel.errors import ConfigurationError
from shared.platform.roles import OWN_SCHEMA_LAST, Rights, grant, own_schema_last

# The event log numbers its events under a lock. That is only correct when every statement sees all earlier
# commits, so neither the isolation level nor durability depends on settings of the database or the role.
SERVER_SETTINGS = {
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "search_path": OWN_SCHEMA_LAST,
}
CONNECT_SECONDS = 10.0

MIGRATIONS_TABLE = """
CREATE TABLE schema_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class Script(NamedTuple):
    """One migration: its name, its SQL, and the rights to each table that it creates."""

    name: str
    sql: str
    rights: Mapping[str, Rights] = MappingProxyType({})


async def open_pool(url: str, *, min_size: int, max_size: int) -> asyncpg.Pool:
    """Open a pool; close it after everything that uses it (`async with await open_pool(...)`).

    An event log keeps three of its connections for itself.
    """
    return await asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=CONNECT_SECONDS,
        server_settings=SERVER_SETTINGS,
    )


async def migrate(url: str, scripts: Sequence[Script], service_url: str | None = None) -> list[str]:
    """Run the scripts that have not run on this database yet; return their names.

    Each script runs once, in its own transaction. A second process that migrates at the same time waits.
    `url` is the address for the owner of the tables, and `service_url` that for the service, which then gets
    its rights to all tables. None: one role is both. Raises ConfigurationError when they are two databases.
    """
    owner, database = await _who_and_where(url)
    service, theirs = await _who_and_where(service_url) if service_url else (owner, database)
    if theirs != database:
        raise ConfigurationError(f"OWNER_DATABASE_URL names the database {database}, DATABASE_URL {theirs}.")
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext('schema migrations'))")
        await connection.execute(f"SET search_path TO {own_schema_last(service)}")
        ran = await _run_missing(connection, scripts)
        if service != owner:
            await grant(connection, service, _rights_of(scripts))
        return ran
    finally:
        await connection.close()


async def _who_and_where(url: str) -> tuple[str, str]:
    """Return the role and the database of an address."""
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        return (
            await connection.fetchval("SELECT current_user"),
            await connection.fetchval("SELECT current_database()"),
        )
    finally:
        await connection.close()


def _rights_of(scripts: Sequence[Script]) -> Mapping[str, Rights]:
    own = {"schema_migrations": Rights("SELECT")}
    return own | {table: rights for script in scripts for table, rights in script.rights.items()}


async def _run_missing(connection: asyncpg.Connection, scripts: Sequence[Script]) -> list[str]:
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        await connection.execute(MIGRATIONS_TABLE)
    seen = {row["name"] for row in await connection.fetch("SELECT name FROM schema_migrations")}
    missing = [script for script in scripts if script.name not in seen]
    for script in missing:
        async with connection.transaction():
            await connection.execute(script.sql)
            await connection.execute("INSERT INTO schema_migrations (name) VALUES ($1)", script.name)
    return [script.name for script in missing]


async def require_schema(pool: asyncpg.Pool, scripts: Sequence[Script], service: str) -> None:
    """Raise RuntimeError when one of the scripts has not run on this database yet."""
    names = [script.name for script in scripts]
    known = await pool.fetchval("SELECT count(*) FROM schema_migrations WHERE name = ANY($1)", names)
    if known != len(names):
        raise RuntimeError(f"The schema is not up to date: run `{service} migrate`")


Connection = asyncpg.pool.PoolConnectionProxy

# The one list of transient errors: the server is down, full, restarting or switching over, or it ended our
# transaction to resolve a deadlock. The same statement may succeed later, or on another connection.
TRANSIENT = (
    ConnectionError,
    TimeoutError,
    asyncpg.InternalClientError,  # the server closed the connection between two statements
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)


def is_transient(error: BaseException) -> bool:
    """Return whether the same statement may succeed later, or on another connection."""
    if isinstance(error, asyncpg.InterfaceError):
        # Wrong arguments of ours are a ValueError as well; the others mean that the connection is closed.
        return not isinstance(error, ValueError)
    return isinstance(error, (*TRANSIENT, OSError))  # looking up the server's name may fail, too


class HeldConnection:
    """A connection of the pool that one task keeps for itself."""

    def __init__(self, pool: asyncpg.Pool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._connection: Connection | None = None

    async def get(self) -> Connection:
        """Return the connection; take one from the pool when there is none or it was lost."""
        if self._connection is not None and self._connection.is_closed():
            await self.drop()
        if self._connection is None:
            self._connection = await self._pool.acquire(timeout=self._timeout)
        return self._connection

    async def drop(self) -> None:
        """Close the connection: after an error its state is not known."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # A connection that the server closed is back in the pool already, and this raises.
            with contextlib.suppress(asyncpg.InterfaceError):
                connection.terminate()

    async def give_back(self) -> None:
        """Return the connection to the pool."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await self._pool.release(connection)
