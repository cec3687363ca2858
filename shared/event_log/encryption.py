"""Crypto-shredding: personal data is encrypted under a key per person (R19, ADR 0005)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import UUID

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.event_log.errors import DecryptionFailed
from shared.event_log.in_memory import InMemoryEventLog
from shared.event_log.mapping import make_transcoder
from shared.event_log.types import SideRow
from shared.platform.secrets import KEY_BYTES, read_key_file

NONCE_BYTES = 12
MASTER_ID_BYTES = 4
_TRANSCODER = make_transcoder()


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key of one person.

    AES-256-GCM; sealed data is nonce + ciphertext + tag, tied to the subject's id.
    """

    subject_id: UUID
    secret: bytes = field(repr=False)
    _cipher: AESGCM = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cipher", AESGCM(self.secret))

    def encrypt(self, data: Mapping[str, Any]) -> bytes:
        """Encrypt a mapping of values that events may hold, dates and the like included."""
        return _encrypt(self._cipher, _TRANSCODER.encode(dict(data)), self.subject_id)

    def decrypt(self, encrypted: bytes) -> dict[str, Any]:
        """Decrypt what `encrypt` returned. Raises DecryptionFailed for another key or changed bytes."""
        return cast("dict[str, Any]", _TRANSCODER.decode(_decrypt(self._cipher, encrypted, self.subject_id)))


class DataKeys(Protocol):
    """The keys of all persons that a service knows; one is destroyed by the row of an erasure (R19)."""

    def create(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """Make a new key; it exists from the moment that its row was written along with an append."""

    async def get(self, subject_id: UUID) -> DataKey | None:
        """Find a person's key; None when it was erased, or there never was one."""

    async def get_all(self, subject_ids: Collection[UUID]) -> Mapping[UUID, DataKey]:
        """Find the keys of those of these persons who have one."""


class MasterKeys:
    """The keys that wrap the data keys.

    The first one wraps; all of them unwrap, so that one can be replaced.
    """

    def __init__(self, newest_first: Sequence[bytes]) -> None:
        self._newest = _master_id(newest_first[0])
        self._by_id = {_master_id(key): AESGCM(key) for key in newest_first}
        self._newest_first = newest_first

    def __reduce__(self) -> tuple[type[MasterKeys], tuple[Sequence[bytes]]]:
        """Go to another process as keys: what OpenSSL made of them cannot."""
        return MasterKeys, (self._newest_first,)

    @classmethod
    def from_file(cls, path: Path | str) -> MasterKeys:
        """Read them from a key file."""
        return cls(read_key_file(path))

    def wrap(self, key: DataKey) -> bytes:
        """Encrypt a data key under the newest master key, whose id goes in front."""
        return self._newest + _encrypt(self._by_id[self._newest], key.secret, key.subject_id)

    def unwrap(self, subject_id: UUID, wrapped: bytes) -> DataKey:
        """Decrypt a data key; DecryptionFailed when its master key is not among ours."""
        master = self._by_id.get(wrapped[:MASTER_ID_BYTES])
        if master is None:
            raise DecryptionFailed("wrapped by a master key that is not in the key file")
        return DataKey(subject_id, _decrypt(master, wrapped[MASTER_ID_BYTES:], subject_id))

    def is_newest(self, wrapped: bytes) -> bool:
        """Say whether this key is wrapped by the newest master key."""
        return wrapped[:MASTER_ID_BYTES] == self._newest

    def create(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """Make a person's key and the row that keeps it."""
        key = DataKey(subject_id, os.urandom(KEY_BYTES))
        return key, SideRow("data_keys", {"subject_id": subject_id, "wrapped": self.wrap(key)})


def _master_id(key: bytes) -> bytes:
    return hashlib.sha256(b"master key id" + key).digest()[:MASTER_ID_BYTES]


def _encrypt(cipher: AESGCM, plain: bytes, subject_id: UUID) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, subject_id.bytes)


def _decrypt(cipher: AESGCM, sealed: bytes, subject_id: UUID) -> bytes:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], subject_id.bytes)
    except (InvalidTag, ValueError) as error:
        raise DecryptionFailed("another key, another subject, or it was changed") from error


class PostgresDataKeys:
    """Data keys in PostgreSQL. Nothing is kept in memory: an erased key is gone at once, everywhere."""

    def __init__(self, pool: asyncpg.Pool, master_keys: MasterKeys) -> None:
        self._pool = pool
        self._master_keys = master_keys

    def create(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """See `DataKeys.mint`."""
        return self._master_keys.create(subject_id)

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

    def create(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """See `DataKeys.mint`."""
        return self._master_keys.create(subject_id)

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
