"""Whether the service's sessions at PostgreSQL are its own: a pooler may stand between."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import uuid4

import asyncpg

from shared.platform.postgres import SERVER_SETTINGS, Connection, open_pool


async def keep_sessions(url: str) -> str:
    """Connect exactly as the service does, and return what was tried.

    Raises ConnectionError, which names what is lost on the way.
    """
    pool = await open_pool(url, min_size=1, max_size=2)
    try:
        async with pool.acquire():
            pass  # as in the service: a connection was used before, and came back to the pool as it was
        if lost := await lost_between(await pool.acquire(), await pool.acquire()):
            raise ConnectionError(f"lost on the way to PostgreSQL: {', '.join(lost)}")
    finally:
        pool.terminate()  # it does not wait for a pooler
    return "settings, statements, notifications and locks are kept"


NOTICED_WITHIN = 1.0
"""Seconds for a notification between two connections."""


async def lost_between(one: Connection, other: Connection) -> list[str]:
    """Return what of two sessions is lost on the way to the server, in words.

    A pooler that gives a session away after each transaction loses all of this. While `other` is in a
    transaction, `one` would get another session.
    """
    checks = {
        "prepared statements": _keeps_statements,
        "settings": _keeps_settings,
        "notifications": _is_notified,
        "advisory locks": _keeps_locks,
    }
    lost = []
    for name, keeps in checks.items():
        try:
            kept = await keeps(one, other)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            kept = False
        if not kept:
            lost.append(name)
    return lost


async def _keeps_statements(one: Connection, other: Connection) -> bool:
    statement = await one.prepare("SELECT $1::integer")
    async with other.transaction():
        await other.execute("SELECT 1")
        return bool(await statement.fetchval(1))


async def _keeps_settings(one: Connection, other: Connection) -> bool:
    async with other.transaction():
        await other.execute("SELECT 1")
        return [await one.fetchval(f"SHOW {name}") for name in SERVER_SETTINGS] == [*SERVER_SETTINGS.values()]


async def _is_notified(one: Connection, other: Connection) -> bool:
    noticed = asyncio.Event()
    channel = f"doctor_{uuid4().hex}"

    def notice(*_: object) -> None:
        noticed.set()

    await one.add_listener(channel, notice)
    await other.execute(f"NOTIFY {channel}")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(NOTICED_WITHIN):
            await noticed.wait()
    await one.remove_listener(channel, notice)
    return noticed.is_set()


async def _keeps_locks(one: Connection, other: Connection) -> bool:
    key = uuid4().int % 2**31
    await one.execute(f"SELECT pg_advisory_lock({key})")
    try:
        return not await other.fetchval(f"SELECT pg_try_advisory_xact_lock({key})")
    finally:
        await one.execute("SELECT pg_advisory_unlock_all()")
