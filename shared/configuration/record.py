"""What is stored about the files of settings: changes, requests to reload, and what each process uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import asyncpg
import orjson
import structlog

from shared.configuration.changes import Difference, Readable, differences
from shared.event_log.export.format import TransferredTable
from shared.platform.postgres import Script
from shared.platform.roles import Rights

log = structlog.get_logger(__name__)

SCHEMA: Sequence[Script] = (
    Script(
        "configuration_0001",
        """
        -- An operator asked all processes to read their files again. `digest`: of the files at that machine.
        CREATE TABLE configuration_reloads (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            asked_by text NOT NULL,
            reason text NOT NULL,
            digest text NOT NULL
        );

        -- Who changed what. `settings`: all of them as people read them, to compare the next ones with.
        CREATE TABLE configuration_changes (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            taken_by text NOT NULL,
            reason text NOT NULL,
            process text NOT NULL,
            digest text NOT NULL,
            settings jsonb NOT NULL,
            differences jsonb NOT NULL
        );

        -- What each running process uses. `reload`: the last request that it has seen to.
        CREATE TABLE configuration_processes (
            process text PRIMARY KEY,
            kind text NOT NULL,
            digest text NOT NULL,
            loaded_at timestamptz NOT NULL,
            reload bigint NOT NULL,
            failure text,
            seen_at timestamptz NOT NULL
        );
        """,
        {
            "configuration_reloads": Rights("SELECT, INSERT"),
            "configuration_changes": Rights("SELECT, INSERT"),
            "configuration_processes": Rights("SELECT, INSERT, UPDATE, DELETE"),
        },
    ),
)
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("configuration_reloads", "id", numbered_by="id"),
    TransferredTable("configuration_changes", "id", numbered_by="id"),
)

GONE_SECONDS = 15.0
"""A process that was not seen for so long is not running any more."""


@dataclass(frozen=True, slots=True)
class Reload:
    """A request that all processes read their files again."""

    id: int
    asked_by: str
    reason: str
    digest: str


@dataclass(frozen=True, slots=True)
class Change:
    """Other settings than before, as the first process took them. `process`: which one."""

    taken_at: datetime
    taken_by: str
    reason: str
    process: str
    digest: str
    differences: Sequence[Difference]


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What a running process uses. `failure`: why it did not take its files the last time."""

    process: str
    kind: str
    digest: str
    loaded_at: datetime
    reload: int
    failure: str | None
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process took, to be stored. `reload`: the last request that it has seen to."""

    process: str
    kind: str
    digest: str
    loaded_at: datetime
    reload: int
    failure: str | None


class ConfigurationRecord:
    """The tables, in the service's own database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ask(self, by: str, reason: str, digest: str) -> Reload:
        """Ask all processes to read their files again."""
        number = await self._pool.fetchval(_ASK, by, reason, digest)
        log.info("configuration.reload_asked", reload=number, by=by, digest=digest)
        return Reload(number, by, reason, digest)

    async def record(
        self, settings: Readable, digest: str, *, by: str, reason: str, process: str
    ) -> Sequence[Difference] | None:
        """Record a change unless these are the last recorded settings; return what changed, or None.

        Of several processes that take the same change at once, one records it.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_ONE_AT_A_TIME)
            last = await connection.fetchrow(_LAST_CHANGE)
            if last is not None and last["digest"] == digest:
                return None
            found = [] if last is None else differences(orjson.loads(last["settings"]), settings)
            content = orjson.dumps({name: dict(values) for name, values in settings.items()}).decode()
            changed = orjson.dumps([asdict(difference) for difference in found]).decode()
            await connection.execute(_RECORD, by, reason, process, digest, content, changed)
        log.info("configuration.changed", by=by, digest=digest, differences=len(found))
        return found

    async def store(self, taken: Taken) -> Reload | None:
        """Store what a process uses, and that it runs. Return the last request, by the same statement."""
        row = await self._pool.fetchrow(
            _STORE,
            *(taken.process, taken.kind, taken.digest, taken.loaded_at, taken.reload, taken.failure),
        )
        return None if row is None else Reload(*row)

    async def forget(self, process: str) -> None:
        """Forget a process that ends, and those that ended without a word a day ago."""
        await self._pool.execute(_FORGET, process)

    async def processes(self) -> list[ProcessState]:
        """Return the processes that run now."""
        return [ProcessState(*row) for row in await self._pool.fetch(_PROCESSES, GONE_SECONDS)]

    async def changes(self, limit: int) -> list[Change]:
        """Return the last changes, the newest first."""
        return [_change(row) for row in await self._pool.fetch(_CHANGES, limit)]


def _change(row: asyncpg.Record) -> Change:
    taken_at, taken_by, reason, process, digest, changed = row
    found = [Difference(**difference) for difference in orjson.loads(changed)]
    return Change(taken_at, taken_by, reason, process, digest, found)


_ASK = "INSERT INTO configuration_reloads (asked_by, reason, digest) VALUES ($1, $2, $3) RETURNING id"
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('configuration changes', 0))"
_LAST_CHANGE = "SELECT digest, settings FROM configuration_changes ORDER BY id DESC LIMIT 1"
_RECORD = """
INSERT INTO configuration_changes (taken_by, reason, process, digest, settings, differences)
VALUES ($1, $2, $3, $4, $5::jsonb, $6::jsonb)
"""
_STORE = """
WITH seen AS (
    INSERT INTO configuration_processes (process, kind, digest, loaded_at, reload, failure, seen_at)
    VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
    ON CONFLICT (process) DO UPDATE
       SET digest = excluded.digest, loaded_at = excluded.loaded_at, reload = excluded.reload,
           failure = excluded.failure, seen_at = excluded.seen_at
)
SELECT id, asked_by, reason, digest FROM configuration_reloads ORDER BY id DESC LIMIT 1
"""
_FORGET = """
DELETE FROM configuration_processes
 WHERE process = $1 OR seen_at < clock_timestamp() - interval '1 day'
"""
_PROCESSES = """
SELECT process, kind, digest, loaded_at, reload, failure, seen_at FROM configuration_processes
 WHERE seen_at > clock_timestamp() - make_interval(secs => $1) ORDER BY kind, process
"""
_CHANGES = """
SELECT taken_at, taken_by, reason, process, digest, differences FROM configuration_changes
 ORDER BY id DESC LIMIT $1
"""
