"""PostgreSQL: a pool of connections, and bringing a database's schema up to date."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

# The event log numbers its events under a lock; that is only right when every statement sees what was
# committed before it, whatever the database or the role was set to. Durable always means durable.
SERVER_SETTINGS = {"default_transaction_isolation": "read committed", "synchronous_commit": "on"}
CONNECT_SECONDS = 10.0

MIGRATIONS_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


async def open_pool(url: str, *, min_size: int, max_size: int) -> asyncpg.Pool:
    """Open a pool; close it after all that uses it (`async with await open_pool(...)`).

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
    """Run the scripts (name, SQL) that this database has not seen yet; answer their names.

    Each runs in its own transaction and once only; two that migrate at the same time queue up.
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
