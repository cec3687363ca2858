"""Who was erased: the row that destroys what is held (R19), and a ledger that no backup takes back."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import orjson
import structlog

from shared.event_log.types import EventLog, SideRow

ERASURES = "erasures"

_log = structlog.get_logger()


def erasure_row(subject_id: UUID) -> SideRow:
    """Make the row whose append destroys a subject's key and rows; a second one does nothing more."""
    return SideRow(ERASURES, {"subject_id": subject_id}, or_ignore=True)


def erased_by(rows: Iterable[SideRow]) -> Sequence[UUID]:
    """Name the subjects whose erasure is among these rows."""
    return [UUID(str(row.values["subject_id"])) for row in rows if row.table == ERASURES]


@dataclass(frozen=True, slots=True)
class ErasureLedger:
    """A file of erasures, JSON Lines; it belongs where no backup of the database is. `path` None: no ledger.

    A restored backup brings back keys that were destroyed since; the ledger knows which must go again.
    """

    path: Path | None = None

    async def note(self, subject_ids: Collection[UUID]) -> None:
        """Write down that these were erased, on the disk when this returns. Raises OSError."""
        if self.path is None or not subject_ids:
            return
        try:
            await asyncio.to_thread(_append, self.path, subject_ids)
        except OSError as error:
            _log.error("erasure_ledger.not_written", reason=str(error), subjects=len(subject_ids))
            raise

    async def subjects(self) -> Sequence[UUID]:
        """Read who was ever erased, each once, in that order. Raises OSError."""
        if self.path is None or not self.path.exists():
            return []
        return await asyncio.to_thread(_read, self.path)


async def brought_back(log: EventLog, ledger: ErasureLedger) -> Sequence[UUID]:
    """Find whom the ledger knows as erased and this log, restored from a backup, does not.

    The other way round as well: an erasure whose process died before it was noted is noted now.
    """
    noted = dict.fromkeys(await ledger.subjects())
    erased = dict.fromkeys(await log.erasures())
    await ledger.note([subject for subject in erased if subject not in noted])
    return [subject for subject in noted if subject not in erased]


def _append(path: Path, subject_ids: Collection[UUID]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    erased_at = datetime.now(UTC)
    lines = b"".join(
        orjson.dumps({"subject_id": each, "erased_at": erased_at}, default=str) + b"\n"
        for each in subject_ids
    )
    # In one write at the end of the file: several processes may keep one ledger.
    ledger = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        whole = _after_a_torn_line(ledger) + lines
        if os.write(ledger, whole) < len(whole):
            raise OSError(errno.ENOSPC, "the ledger of erasures was written in part only", str(path))
        os.fsync(ledger)
    finally:
        os.close(ledger)


def _after_a_torn_line(ledger: int) -> bytes:
    """A machine that stopped in the middle of a line must not spoil the next one."""
    size = os.fstat(ledger).st_size
    return b"" if size == 0 or os.pread(ledger, 1, size - 1) == b"\n" else b"\n"


def _read(path: Path) -> list[UUID]:
    subjects: dict[UUID, None] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            subjects[UUID(orjson.loads(line)["subject_id"])] = None
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            _log.error("erasure_ledger.line_unreadable", path=str(path), line=number)
    return list(subjects)
