"""Where the keys of persons are kept: the table `data_keys`, beside the log."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from uuid import UUID

import asyncpg

from shared.event_log.in_memory import InMemoryEventLog
from shared.event_log.keys import DataKey, MasterKeys
from shared.event_log.types import SideRow
from shared.key_files import KEY_BYTES


class PostgresDataKeys:
    """Data keys in PostgreSQL. Nothing is kept in memory: an erased key is gone at once, everywhere."""

    def __init__(self, pool: asyncpg.Pool, master_keys: MasterKeys) -> None:
        self._pool = pool
        self._master_keys = master_keys

    def mint(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """See `DataKeys.mint`."""
        return self._master_keys.mint(subject_id)

    async def get(self, subject_id: UUID) -> DataKey | None:
        """See `DataKeys.get`."""
        wrapped = await self._pool.fetchval("SELECT wrapped FROM data_keys WHERE subject_id = $1", subject_id)
        return None if wrapped is None else self._master_keys.unwrap(subject_id, wrapped)

    async def get_all(self, subject_ids: Collection[UUID]) -> Mapping[UUID, DataKey]:
        """See `DataKeys.get_all`."""
        rows = await self._pool.fetch(
            "SELECT subject_id, wrapped FROM data_keys WHERE subject_id = ANY ($1)", list(subject_ids)
        )
        return {subject: self._master_keys.unwrap(subject, wrapped) for subject, wrapped in rows}

    async def rewrap(self) -> int:
        """Wrap every key under the newest master key, so that older ones can be dropped; answer how many."""
        rewrapped = 0
        for row in await self._pool.fetch("SELECT subject_id, wrapped FROM data_keys"):
            if not self._master_keys.is_newest(row["wrapped"]):
                key = self._master_keys.unwrap(row["subject_id"], row["wrapped"])
                # Only over the very value that was read: never bring back a key erased meanwhile.
                status = await self._pool.execute(
                    "UPDATE data_keys SET wrapped = $3 WHERE subject_id = $1 AND wrapped = $2",
                    row["subject_id"],
                    row["wrapped"],
                    self._master_keys.wrap(key),
                )
                rewrapped += status == "UPDATE 1"
        return rewrapped


class InMemoryDataKeys:
    """Data keys in the side rows of an in-memory log: like the real ones they exist only once appended."""

    def __init__(self, log: InMemoryEventLog) -> None:
        self._rows = log.rows("data_keys")
        self._master_keys = MasterKeys([os.urandom(KEY_BYTES)])

    def mint(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """See `DataKeys.mint`."""
        return self._master_keys.mint(subject_id)

    async def get(self, subject_id: UUID) -> DataKey | None:
        """See `DataKeys.get`."""
        for row in self._rows:
            if row["subject_id"] == subject_id:
                return self._master_keys.unwrap(subject_id, row["wrapped"])
        return None

    async def get_all(self, subject_ids: Collection[UUID]) -> Mapping[UUID, DataKey]:
        """See `DataKeys.get_all`."""
        found = {subject_id: await self.get(subject_id) for subject_id in subject_ids}
        return {subject_id: key for subject_id, key in found.items() if key is not None}
