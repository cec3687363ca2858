"""PostgreSQL: a pool of connections, one connection kept for a task, and bringing a schema up to date."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import asyncpg

# The event log numbers its events under a lock. That is only correct when every statement sees all earlier
# commits, so neither the isolation level nor durability depends on settings of the database or the role.
SERVER_SETTINGS = {"default_transaction_isolation": "read committed", "synchronous_commit": "on"}
CONNECT_SECONDS = 10.0

MIGRATIONS_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


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


async def migrate(url: str, scripts: Sequence[tuple[str, str]]) -> list[str]:
    """Run the scripts (name, SQL) that have not run on this database yet; return their names.

    Each script runs once, in its own transaction. A second process that migrates at the same time waits.
    """
    connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext('schema migrations'))")
        await connection.execute(MIGRATIONS_TABLE)
        seen = {row["name"] for row in await connection.fetch("SELECT name FROM schema_migrations")}
        missing = [(name, script) for name, script in scripts if name not in seen]
        for name, script in missing:
            async with connection.transaction():
                await connection.execute(script)
                await connection.execute("INSERT INTO schema_migrations (name) VALUES ($1)", name)
        return [name for name, _ in missing]
    finally:
        await connection.close()


async def require_schema(pool: asyncpg.Pool, scripts: Sequence[tuple[str, str]], service: str) -> None:
    """Raise RuntimeError when one of the scripts has not run on this database yet."""
    names = [name for name, _ in scripts]
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
