"""What a migration may not do, because processes of the release before go on over the new schema.

They insert rows without the new columns, find rows by the old keys, and call the old functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

OURS = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"

COLUMNS = f"""
SELECT c.relname || '.' || a.attname AS name, c.relname AS of_table,
       format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS required,
       a.atthasdef OR a.attidentity <> '' AS has_default
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped
"""  # noqa: S608 - a constant
# A unique index that is no constraint refuses rows as well, and ON CONFLICT may name it.
RULES = f"""
SELECT c.relname AS of_table, pg_get_constraintdef(k.oid) AS definition
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND k.contype IN ('p', 'u', 'c', 'f', 'x')
 UNION ALL
SELECT c.relname, regexp_replace(pg_get_indexdef(i.indexrelid), '^.* ON ', 'UNIQUE INDEX ON ')
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE {OURS} AND i.indisunique
   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
"""  # noqa: S608 - a constant
FUNCTIONS = f"""
SELECT p.oid::regprocedure::text AS name
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {OURS}
"""  # noqa: S608 - a constant
RIGHTS = f"""
SELECT c.relname || ' for ' || r.rolname || ': ' || acl.privilege_type AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) acl
  JOIN pg_roles r ON r.oid = acl.grantee WHERE {OURS}
"""  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its type, whether a row must have a value, and whether it has one by default."""

    type: str
    required: bool
    has_default: bool


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a database has, as a client depends on it."""

    columns: dict[str, Column]
    rules: set[tuple[str, str]]
    functions: set[str]
    rights: set[str]

    @property
    def tables(self) -> set[str]:
        return {name.partition(".")[0] for name in self.columns}


async def catalogue(connection: asyncpg.Connection) -> Catalogue:
    """Read it from the database."""
    columns = {
        row["name"]: Column(row["type"], row["required"], row["has_default"])
        for row in await connection.fetch(COLUMNS)
    }
    rules = {(row["of_table"], row["definition"]) for row in await connection.fetch(RULES)}
    functions = {row["name"] for row in await connection.fetch(FUNCTIONS)}
    rights = {row["name"] for row in await connection.fetch(RIGHTS)}
    return Catalogue(columns, rules, functions, rights)


def not_additive(before: Catalogue, after: Catalogue) -> list[str]:
    """Return what processes of the release before would trip over; nothing when a migration only adds."""
    return sorted(
        [
            *(f"{name} is gone" for name in before.columns.keys() - after.columns.keys()),
            *(f"function {name} is gone" for name in before.functions - after.functions),
            *(f"right is gone: {name}" for name in before.rights - after.rights),
            *(f"{table} has no longer: {rule}" for table, rule in before.rules - after.rules),
            *(
                f"{table} is refused more: {rule}"
                for table, rule in after.rules - before.rules
                if table in before.tables
            ),
            *_changed_columns(before, after),
        ]
    )


def _changed_columns(before: Catalogue, after: Catalogue) -> list[str]:
    found = []
    for name, now in after.columns.items():
        was = before.columns.get(name)
        if was is None:
            if name.partition(".")[0] in before.tables and now.required and not now.has_default:
                found.append(f"{name} is new, required, and has no default")
            continue
        if now.type != was.type:
            found.append(f"{name} was {was.type}, is {now.type}")
        if now.required and not was.required:
            found.append(f"{name} became required")
        if now.required and was.has_default and not now.has_default:
            found.append(f"{name} has no default any more")
    return found
