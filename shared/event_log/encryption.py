"""Crypto-shredding: personal data is encrypted under one data key per person (R19, ADR 0005)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import UUID

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.event_log.aggregate_store import make_transcoder
from shared.event_log.errors import DecryptionFailed
from shared.event_log.failures import SubjectFailures
from shared.event_log.in_memory import InMemoryEventLog
from shared.event_log.types import SideRow
from shared.platform.secrets import KEY_BYTES, read_key_file

NONCE_BYTES = 12
MASTER_ID_BYTES = 4
_TRANSCODER = make_transcoder()


@dataclass(frozen=True, slots=True)
class DataKey:
    """The data key of one subject (AES-256-GCM).

    Encrypted data is nonce + ciphertext + tag, and is tied to the subject's id.
    """

    subject_id: UUID
    secret: bytes = field(repr=False)
    _cipher: AESGCM = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_cipher", AESGCM(self.secret))

    def encrypt(self, data: dict[str, Any]) -> bytes:
        """Return a mapping as encrypted bytes. Values may have all types that events store, such as date."""
        return _encrypt(self._cipher, _TRANSCODER.encode(data), self.subject_id)

    def decrypt(self, encrypted: bytes) -> dict[str, Any]:
        """Return the mapping that was encrypted. Raises DecryptionFailed for a wrong key or changed bytes."""
        plain = _decrypt(self._cipher, encrypted, self.subject_id)
        try:
            return cast("dict[str, Any]", _TRANSCODER.decode(plain))
        except Exception as error:  # the text of the error may hold personal data
            raise DecryptionFailed(f"what was encrypted cannot be read: {type(error).__name__}") from None


class DataKeys(Protocol):
    """The data keys of all subjects of a service. The row of an erasure destroys one (R19)."""

    def create(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """Create a key and the side row that stores it. The key exists when that row has been appended."""

    def unwrap(self, subject_id: UUID, wrapped: bytes) -> DataKey:
        """Return the key that a row holds wrapped. Raises DecryptionFailed."""

    async def get(self, subject_id: UUID) -> DataKey | None:
        """Return the key of a subject; None when it was erased or never existed."""

    async def get_all(
        self, subject_ids: Collection[UUID], failures: SubjectFailures
    ) -> Mapping[UUID, DataKey]:
        """Return the keys of those of these subjects that have one. Keys that cannot be used are failures."""


class MasterKeys:
    """The keys that wrap the data keys.

    The newest one wraps; all of them unwrap, so that a master key can be rotated.
    """

    def __init__(self, newest_first: Sequence[bytes]) -> None:
        self._newest = _master_id(newest_first[0])
        self._by_id = {_master_id(key): AESGCM(key) for key in newest_first}
        self._newest_first = newest_first

    def __reduce__(self) -> tuple[type[MasterKeys], tuple[Sequence[bytes]]]:
        """Pickle only the keys: the cipher objects of OpenSSL cannot be pickled."""
        return MasterKeys, (self._newest_first,)

    @classmethod
    def from_file(cls, path: Path | str) -> MasterKeys:
        """Read the master keys from a key file."""
        return cls(read_key_file(path))

    @property
    def ids(self) -> Sequence[str]:
        """The ids of these keys as hexadecimal digits, the newest first."""
        return [_master_id(key).hex() for key in self._newest_first]

    def wrap(self, key: DataKey) -> bytes:
        """Return a data key encrypted under the newest master key, with the id of that key in front."""
        return self._newest + _encrypt(self._by_id[self._newest], key.secret, key.subject_id)

    def unwrap(self, subject_id: UUID, wrapped: bytes) -> DataKey:
        """Return the data key. Raises DecryptionFailed when its master key is not in the key file."""
        master = self._by_id.get(wrapped[:MASTER_ID_BYTES])
        if master is None:
            raise DecryptionFailed("A data key is wrapped by a master key that is not in the key file")
        return DataKey(subject_id, _decrypt(master, wrapped[MASTER_ID_BYTES:], subject_id))

    def is_newest(self, wrapped: bytes) -> bool:
        """Return whether this data key is wrapped by the newest master key."""
        return wrapped[:MASTER_ID_BYTES] == self._newest

    def create(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """Create the key of a subject and the side row that stores it."""
        key = DataKey(subject_id, os.urandom(KEY_BYTES))
        return key, SideRow("data_keys", {"subject_id": subject_id, "wrapped": self.wrap(key)})


def _master_id(key: bytes) -> bytes:
    return hashlib.sha256(b"master key id" + key).digest()[:MASTER_ID_BYTES]


def _encrypt(cipher: AESGCM, plain: bytes, subject_id: UUID) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, subject_id.bytes)


def _decrypt(cipher: AESGCM, encrypted: bytes, subject_id: UUID) -> bytes:
    try:
        return cipher.decrypt(encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:], subject_id.bytes)
    except (InvalidTag, ValueError) as error:
        raise DecryptionFailed("wrong key, wrong subject, or changed data") from error


class PostgresDataKeys:
    """Data keys in PostgreSQL, without a cache: an erased key is gone at once, in every process."""

    def __init__(self, pool: asyncpg.Pool, master_keys: MasterKeys) -> None:
        self._pool = pool
        self._master_keys = master_keys

    def create(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """See `DataKeys.create`."""
        return self._master_keys.create(subject_id)

    def unwrap(self, subject_id: UUID, wrapped: bytes) -> DataKey:
        """See `DataKeys.unwrap`."""
        return self._master_keys.unwrap(subject_id, wrapped)

    async def get(self, subject_id: UUID) -> DataKey | None:
        """See `DataKeys.get`."""
        wrapped = await self._pool.fetchval("SELECT wrapped FROM data_keys WHERE subject_id = $1", subject_id)
        return None if wrapped is None else self._master_keys.unwrap(subject_id, wrapped)

    async def get_all(
        self, subject_ids: Collection[UUID], failures: SubjectFailures
    ) -> Mapping[UUID, DataKey]:
        """See `DataKeys.get_all`."""
        keys: dict[UUID, DataKey] = {}
        for subject_id, wrapped in await self._pool.fetch(
            "SELECT subject_id, wrapped FROM data_keys WHERE subject_id = ANY ($1)", list(subject_ids)
        ):
            with failures.skip(subject_id):
                keys[subject_id] = self._master_keys.unwrap(subject_id, wrapped)
        return keys

    async def count_by_master_key(self) -> Mapping[str, int]:
        """Count the data keys by the id (8 hexadecimal digits) of the master key that wraps them."""
        rows = await self._pool.fetch(COUNT_BY_MASTER_KEY, MASTER_ID_BYTES)
        return {row["master_key"].hex(): row["keys"] for row in rows}

    async def rewrap(
        self, failures: SubjectFailures, progress: Callable[[int], None] = lambda _: None
    ) -> int:
        """Wrap every data key under the newest master key, so that older ones can be retired.

        Works in batches of REWRAP_BATCH keys, so it can be stopped and run again. `progress` is called with
        the number of keys looked at. Returns the number of keys that changed. A data key is a failure when
        its master key is not in the key file, or when its bytes were changed.
        """
        rewrapped, last = 0, UUID(int=0)
        while rows := await self._pool.fetch(NEXT_KEYS, last, REWRAP_BATCH):
            last = rows[-1]["subject_id"]
            new: dict[UUID, tuple[bytes, bytes]] = {}
            for subject_id, wrapped in rows:
                if not self._master_keys.is_newest(wrapped):
                    with failures.skip(subject_id):
                        key = self._master_keys.unwrap(subject_id, wrapped)
                        new[subject_id] = wrapped, self._master_keys.wrap(key)
            before, after = zip(*new.values(), strict=True) if new else ((), ())
            done = await self._pool.execute(REWRAP, list(new), before, after)
            rewrapped += int(done.rpartition(" ")[2])
            progress(len(rows))
        return rewrapped


REWRAP_BATCH = 1000
NEXT_KEYS = "SELECT subject_id, wrapped FROM data_keys WHERE subject_id > $1 ORDER BY subject_id LIMIT $2"
# Only over the very value that was read: a key that was erased meanwhile must not come back.
REWRAP = """
UPDATE data_keys SET wrapped = rewrapped.new
  FROM unnest($1::uuid[], $2::bytea[], $3::bytea[]) AS rewrapped (subject_id, old, new)
 WHERE data_keys.subject_id = rewrapped.subject_id AND data_keys.wrapped = rewrapped.old
"""
COUNT_BY_MASTER_KEY = """
SELECT substring(wrapped FROM 1 FOR $1) AS master_key, count(*) AS keys
  FROM data_keys GROUP BY master_key ORDER BY keys DESC
"""


class InMemoryDataKeys:
    """Data keys in the side rows of an in-memory log. A key exists only after its row was appended."""

    def __init__(self, log: InMemoryEventLog) -> None:
        self._rows = log.rows("data_keys")
        self._master_keys = MasterKeys([os.urandom(KEY_BYTES)])

    def create(self, subject_id: UUID) -> tuple[DataKey, SideRow]:
        """See `DataKeys.create`."""
        return self._master_keys.create(subject_id)

    def unwrap(self, subject_id: UUID, wrapped: bytes) -> DataKey:
        """See `DataKeys.unwrap`."""
        return self._master_keys.unwrap(subject_id, wrapped)

    async def get(self, subject_id: UUID) -> DataKey | None:
        """See `DataKeys.get`."""
        for row in self._rows:
            if row["subject_id"] == subject_id:
                return self._master_keys.unwrap(subject_id, row["wrapped"])
        return None

    async def get_all(
        self, subject_ids: Collection[UUID], failures: SubjectFailures
    ) -> Mapping[UUID, DataKey]:
        """See `DataKeys.get_all`."""
        keys: dict[UUID, DataKey] = {}
        for subject_id in subject_ids:
            with failures.skip(subject_id):
                if (key := await self.get(subject_id)) is not None:
                    keys[subject_id] = key
        return keys
