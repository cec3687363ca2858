"""The three database roles of a service: its owner, the service itself, and a reader (ADR 0021).

The tables of the log are in the schema `public`, in which only the owner can make anything. The tables of
views are in a schema with the name of the service's role. PostgreSQL calls that schema `"$user"`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import asyncpg

# The service may make any table in its own schema, and none of them may hide a table of the log. Only a
# rebuild of a view looks there first, because that is where it makes tables.
OWN_SCHEMA_LAST = 'public, "$user"'
OWN_SCHEMA_FIRST = '"$user", public'


def own_schema_last(service: str) -> str:
    """Return the same search path for another role than the service's."""
    return f"public, {_quoted(service)}"


@dataclass(frozen=True, slots=True)
class Rights:
    """What the service may do with a table, as in SQL's GRANT, and whether a reader may read it.

    `service` None: it owns the table, which is one of a view.
    """

    service: str | None
    reader: bool = True


# A killed rebuild leaves tables with a suffix behind the name.
NOT_HANDED_OVER = """
SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND split_part(tablename, '__', 1) = ANY ($1)
"""


async def grant(connection: asyncpg.Connection, service: str, rights: Mapping[str, Rights]) -> None:
    """Grant the role `service`, and its reader if there is one, exactly these rights. Safe to repeat.

    The connection is the owner's. It must be a member of `service`, to hand over the tables of views.
    """
    reader, own_schema = await _reader_of(connection, service), _quoted(service)
    views = [table for table, allowed in rights.items() if allowed.service is None]
    if views:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {own_schema} AUTHORIZATION {own_schema}")
        if reader:
            await connection.execute(f"GRANT USAGE ON SCHEMA {own_schema} TO {_quoted(reader)}")
    for (table,) in await connection.fetch(NOT_HANDED_OVER, views):
        await connection.execute(
            f"ALTER TABLE public.{_quoted(table)} SET SCHEMA {own_schema};"
            f"ALTER TABLE {own_schema}.{_quoted(table)} OWNER TO {own_schema}"
        )
    for table, allowed in rights.items():
        await connection.execute(";".join(_statements(table, allowed, service, reader)))


async def let_reader_read(connection: asyncpg.Connection, table: str) -> None:
    """Let the reader of this connection's role, if there is one, read a table of that role."""
    if reader := await _reader_of(connection, await connection.fetchval("SELECT current_user")):
        await connection.execute(f"GRANT SELECT ON {table} TO {_quoted(reader)}")


async def _reader_of(connection: asyncpg.Connection, service: str) -> str | None:
    """Return the role with the name of the service's role and `_reader` behind it, if it exists."""
    name: str | None = await connection.fetchval(
        "SELECT rolname FROM pg_roles WHERE rolname = $1", f"{service}_reader"
    )
    return name


def _statements(table: str, allowed: Rights, service: str, reader: str | None) -> Iterator[str]:
    if allowed.service is not None:
        yield f"REVOKE ALL ON {table} FROM {_quoted(service)}"
        yield f"GRANT {allowed.service} ON {table} TO {_quoted(service)}"
    if reader:
        yield f"REVOKE ALL ON {table} FROM {_quoted(reader)}"
        if allowed.reader:
            yield f"GRANT SELECT ON {table} TO {_quoted(reader)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
