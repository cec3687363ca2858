"""PostgreSQL: a pool of connections, one connection kept for a task, and bringing a schema up to date."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import asyncpg
import structlog

from shared.kernel.errors import ConfigurationError
from shared.platform import limits
from shared.platform.database_hosts import Hosts
from shared.platform.roles import OWN_SCHEMA_LAST, Rights, grant, own_schema_last

# The event log numbers its events under a lock. That is only correct when every statement sees all earlier
# commits, so neither the isolation level nor durability depends on settings of the database or the role.
# They are set by a statement: a pooler such as PgBouncer refuses or drops start-up parameters.
SERVER_SETTINGS = {
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "search_path": OWN_SCHEMA_LAST,
    # The server ends a statement whose client has given up and closed the connection.
    "client_connection_check_interval": "2s",
    # A statement is planned once for all values (see `fitting`): planning often took longer than the rest.
    "plan_cache_mode": "force_generic_plan",
}

_CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE)\b")

log = structlog.get_logger(__name__)

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
    connection = await connect(url)
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
    connection = await connect(url)
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
    count = "SELECT count(*) FROM schema_migrations WHERE name = ANY($1)"
    # Half of the time that readiness has: a silent connection is then found, and a new one tried.
    known = await pool.fetchval(count, names, timeout=limits.CHECK / 2)
    if known != len(names):
        raise RuntimeError(f"The schema is not up to date: run `{service} migrate`")


WRITTEN_SECONDS = 3.0
"""A proof that the database can write counts for so long: those who ask often cost little."""
# A file of its own is written to (half a megabyte, which is more than the memory that it may use), and a line
# of the log of the server is on its disk at the end. No table is changed.
WRITE = """
SELECT set_config('work_mem', '64kB', true);
SELECT count(*) FROM generate_series(1, 20000);
SELECT pg_logical_emit_message(true, 'ready', '');
"""


class Readiness:
    """Whether a service can use its database: the schema is up to date, and it can write."""

    def __init__(self, pool: asyncpg.Pool, scripts: Sequence[Script], service: str) -> None:
        self._pool = pool
        self._scripts = scripts
        self._service = service
        self._written_at = -WRITTEN_SECONDS
        self._writing = asyncio.Lock()

    async def require(self) -> None:
        """Raise RuntimeError without the schema, and what the database says when it cannot write."""
        await require_schema(self._pool, self._scripts, self._service)
        async with self._writing:
            began = time.monotonic()
            if began - self._written_at >= WRITTEN_SECONDS:
                await self._pool.execute(WRITE, timeout=limits.CHECK / 2)
                self._written_at = began


Connection = asyncpg.pool.PoolConnectionProxy

# The one list of transient errors: the server is down, full, restarting or switching over, or it ended our
# transaction to resolve a deadlock. The same statement may succeed later, or on another connection.
TRANSIENT = (
    ConnectionError,
    TimeoutError,
    asyncpg.InternalClientError,  # the server closed the connection between two statements
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,  # a full disk is one of them
    asyncpg.PostgresSystemError,  # an error of reading or writing a file
    asyncpg.TransactionRollbackError,
    asyncpg.ReadOnlySQLTransactionError,
)


NO_SPACE = (asyncpg.DiskFullError, asyncpg.PostgresSystemError, asyncpg.ConfigurationLimitExceededError)
"""The server goes on and cannot write: its disk is full or fails. To try again a moment later is in vain."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same statement may succeed later, or on another connection."""
    if isinstance(error, asyncpg.InterfaceError):
        # Wrong arguments of ours are a ValueError as well; the others mean that the connection is closed.
        return not isinstance(error, ValueError)
    return isinstance(error, (*TRANSIENT, OSError))  # looking up the server's name may fail, too


_OF_THE_DATABASE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def is_caused_by_outage(error: BaseException) -> bool:
    """Return whether an error, one of its group, or one that it came of is a transient one of the database.

    A driver whose connection ends in the middle of its work may fail with any error of its own.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, _OF_THE_DATABASE) and is_transient(found):
            return True
        waiting += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions
    return False


def fitting(conditions: Sequence[tuple[str, str]], values: Sequence[object], first: int = 1) -> str:
    """Return those of the conditions whose values are given, not None; for the others only that they are not.

    `conditions`: the type of each parameter and its condition, numbered from `first`. A condition like "$1 IS
    NULL OR name = $1" would be planned for all values at once, and so without the index for a name.
    """
    return " AND ".join(
        f"${number}::{kind} IS NULL" if value is None else f"({condition})"
        for number, ((kind, condition), value) in enumerate(zip(conditions, values, strict=True), first)
    )


class _Connection(asyncpg.Connection):
    """A connection that is closed when a statement on it is given up.

    The driver would keep it, and wait until the server confirms a cancellation. A silent server never does.
    """

    given_up = False

    def get_reset_query(self) -> str:
        """Return no statement to clean a connection that comes back to the pool: there is nothing to clean.

        Nobody changes a setting but for one transaction (`SET LOCAL`), keeps a lock longer than that, or
        gives back a connection that listens. The driver ends an open transaction by itself. The usual reset
        would be a third of all statements of a registration.
        """
        return ""

    def _cancel_current_command(self, *waiters: asyncio.Future[None]) -> None:
        if asyncio.current_task() is None:  # the loop calls: the time is over, or the caller was cancelled
            self.given_up = True
            asyncio.get_running_loop().call_soon(self.terminate)  # soon: the driver has not finished with it
        else:  # a COPY whose rows could not be encoded: the server answers, and the transaction may go on
            super()._cancel_current_command(*waiters)  # type: ignore[misc] # not in the stubs

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """See asyncpg."""
        if self.given_up and query.startswith("ROLLBACK"):
            return (
                query  # the server does it when the connection ends; an error here would hide the first one
            )
        return await super().execute(query, *args, timeout=timeout)

    async def close(self, *, timeout: float | None = None) -> None:
        """Close in good order, or at once when that takes too long. Raises nothing."""
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await super().close(timeout=limits.CLOSE if timeout is None else timeout)


async def connect(url: str, settings: Mapping[str, str] = MappingProxyType({})) -> asyncpg.Connection:
    """Open one connection for a command, with these settings of the server. Its statements have no limit."""
    connection = await Hosts(url).connect(timeout=limits.CONNECT)
    await _keep_alive(connection)
    if settings:
        try:
            await connection.execute(_setting(settings), timeout=limits.CONNECT)
        except BaseException:
            connection.terminate()
            raise
    return connection


async def connect_apart(pool: asyncpg.Pool, settings: Mapping[str, str]) -> asyncpg.Connection:
    """Open a connection beside those of a pool, set up as they are, with these settings as well.

    The caller closes it.
    """
    connection: asyncpg.Connection
    connection = await pool._get_new_connection()  # type: ignore[attr-defined] # not in the stubs
    try:
        await connection.execute(_setting(settings), timeout=limits.CONNECT)
    except BaseException:
        connection.terminate()
        raise
    return connection


def _setting(settings: Mapping[str, str]) -> str:
    values = [f"set_config('{name}', '{value}', false)" for name, value in settings.items()]
    return f"SELECT {', '.join(values)}"


async def _set_up(connection: asyncpg.Connection) -> None:
    await _keep_alive(connection)
    await connection.execute(_setting(SERVER_SETTINGS))


async def _keep_alive(connection: asyncpg.Connection) -> None:
    used = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined] # not in the stubs
    if used.family != socket.AF_UNIX:
        for option in limits.KEEP_ALIVE:
            used.setsockopt(*option)


class Pool(asyncpg.Pool):
    """A pool whose every use ends in time, and whose reads survive the end of a connection.

    Raises errors of `TRANSIENT` when the database cannot be used now; TimeoutError is one of them.
    """

    renewals = 0
    """How often all connections were replaced. One that is kept from before is to be given up."""
    whole: float | None = None
    """Limit in seconds for one use, with both attempts. None: `limits.DATABASE`."""

    async def _acquire(self, timeout: float | None) -> Any:
        try:
            async with asyncio.timeout(limits.ACQUIRE if timeout is None else timeout):
                return await super()._acquire(None)  # type: ignore[misc] # not in the stubs
        except TimeoutError:
            raise NoConnection from None

    async def release(self, connection: Connection, *, timeout: float | None = None) -> None:
        """Take a connection back. One on which a statement was given up is closed first."""
        held: _Connection | None = connection._con  # type: ignore[attr-defined] # not in the stubs
        if held is not None and held.given_up:
            held.terminate()
        await super().release(connection, timeout=timeout)

    async def close(self) -> None:
        """Close all connections; those that do not close in time are cut off."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.CLOSE):
                await super().close()

    async def renew(self) -> None:
        """Replace all connections: one was of no use, so the others probably are not either."""
        self.renewals += 1
        await self.expire_connections()

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """See asyncpg."""
        return str(await self._answer(super().execute, query, args, timeout))

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> list[asyncpg.Record]:  # type: ignore[override]
        """See asyncpg."""
        return list(await self._answer(super().fetch, query, args, timeout))

    async def fetchrow(  # type: ignore[override]
        self, query: str, *args: object, timeout: float | None = None
    ) -> asyncpg.Record | None:
        """See asyncpg."""
        row: asyncpg.Record | None = await self._answer(super().fetchrow, query, args, timeout)
        return row

    async def fetchval(  # type: ignore[override]
        self, query: str, *args: object, timeout: float | None = None
    ) -> Any:
        """See asyncpg."""
        return await self._answer(super().fetchval, query, args, timeout)

    async def _answer(
        self, ask: Callable[..., Awaitable[Any]], query: str, args: Sequence[object], timeout: float | None
    ) -> Any:
        """Ask, and ask a second time for a read that failed: a write may have been committed."""
        whole = (self.whole or limits.DATABASE) if timeout is None else timeout + limits.ACQUIRE
        async with asyncio.timeout(whole):
            try:
                return await ask(query, *args, timeout=timeout)
            except Exception as error:
                if _is_of_all_connections(error):
                    await self.renew()
                if not is_transient(error) or not _is_read(query):
                    raise
                log.warning("database.asked_again", reason=type(error).__name__)
            return await ask(query, *args, timeout=timeout)


def _is_of_all_connections(error: Exception) -> bool:
    """Return whether the others of the pool are as bad: silent, or at a server that became a standby."""
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return True
    return isinstance(error, TimeoutError) and not isinstance(error, NoConnection)


def _is_read(query: str) -> bool:
    return query.lstrip().startswith(("SELECT", "WITH")) and not _CHANGES.search(query)


class NoConnection(TimeoutError):
    """No connection of the pool became free in time."""


async def open_pool(url: str, *, min_size: int, max_size: int, statement: float | None = None) -> Pool:
    """Open a pool; close it after everything that uses it (`async with await open_pool(...)`).

    An event log keeps three of its connections for itself. `statement`: limit in seconds
    for each statement; None: `limits.STATEMENT`.
    """
    pool = Pool(
        url,
        min_size=min_size,
        max_size=max_size,
        max_queries=50_000,
        max_inactive_connection_lifetime=300.0,
        loop=asyncio.get_running_loop(),
        init=_set_up,
        connect=Hosts(url).connect,  # type: ignore[arg-type] # the stubs want all options by name
        connection_class=_Connection,
        record_class=asyncpg.Record,
        timeout=limits.CONNECT,
        command_timeout=statement or limits.STATEMENT,
    )
    pool.whole = statement and statement + limits.ACQUIRE
    await pool
    return pool


class HeldConnection:
    """A connection of the pool that one task keeps for itself."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._renewals = pool.renewals
        self._connection: Connection | None = None

    async def get(self) -> Connection:
        """Return the connection; take one from the pool when there is none, or it was lost or is too old."""
        if self._connection is not None and (
            self._connection.is_closed() or self._renewals != self._pool.renewals
        ):
            await self.drop()
        if self._connection is None:
            self._renewals = self._pool.renewals
            self._connection = await self._pool.acquire()
        return self._connection

    async def drop(self, why: Exception | None = None) -> None:
        """Close the connection: after an error its state is not known, and others may be silent as well."""
        if self._connection is not None and why is not None and _is_of_all_connections(why):
            await self._pool.renew()
        connection, self._connection = self._connection, None
        if connection is not None:
            # A connection that the server closed is back in the pool already, and this raises.
            with contextlib.suppress(asyncpg.InterfaceError):
                connection.terminate()

    async def give_back(self) -> None:
        """Return the connection to the pool; a silent one is closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._pool.release(connection, timeout=limits.CLOSE)
