"""One connection of the pool, kept for one task, taken anew when it broke."""

from __future__ import annotations

import contextlib

import asyncpg

Connection = asyncpg.pool.PoolConnectionProxy

# Not the statement's fault: the server is away, full, restarting or switching over, or chose us as the victim
# of a deadlock. The same statement may succeed later.
TRANSIENT = (
    OSError,  # includes TimeoutError
    asyncpg.InternalClientError,  # the server said goodbye between two statements
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)


def is_transient(error: BaseException) -> bool:
    """Say whether the same statement may succeed later, or on another connection."""
    if isinstance(error, asyncpg.InterfaceError):
        # Our own wrong arguments are a ValueError as well; the others say that the connection is closed.
        return not isinstance(error, ValueError)
    return isinstance(error, TRANSIENT)


class HeldConnection:
    """A pool's connection for one task's own use."""

    def __init__(self, pool: asyncpg.Pool, timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout
        self._connection: Connection | None = None

    async def get(self) -> Connection:
        """Give the connection; take one from the pool when there is none, or when it was lost."""
        if self._connection is not None and self._connection.is_closed():
            await self.drop()
        if self._connection is None:
            self._connection = await self._pool.acquire(timeout=self._timeout)
        return self._connection

    async def drop(self) -> None:
        """Close the connection for good: after an error nobody knows what it is in the middle of."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # One that the server closed has gone back to the pool by itself, and says so by an error.
            with contextlib.suppress(asyncpg.InterfaceError):
                connection.terminate()

    async def give_back(self) -> None:
        """Give the connection back to the pool."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await self._pool.release(connection)
