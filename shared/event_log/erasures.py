"""Erasures: the row that destroys personal data (R19), and a ledger kept away from the backups."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import orjson
import structlog

from shared.event_log.failures import SubjectFailures
from shared.event_log.types import EventLog, SideRow
from shared.platform.postgres import Script
from shared.platform.roles import Rights

LONGEST_LINE = 4096
"""In bytes, of the ledger. What is longer is not read as one line."""

# The row of an erasure is a side row like any other, so the event and the destruction commit together. Each
# table registers itself: `SELECT rows_die_with_subject('term_checks', 'guest_id')`.
#
# After an erasure no row of the subject comes back: a row that a late command inserts is dropped. Some rows
# are not written under the log's lock. So the erasure locks the table: it waits for inserts that are not
# committed yet, and later inserts see the erasure.
ERASURES = """
CREATE TABLE erasures (
    subject_id uuid PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION delete_rows_of_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', TG_ARGV[0]);
    EXECUTE format('DELETE FROM %I WHERE %I = $1', TG_ARGV[0], TG_ARGV[1]) USING NEW.subject_id;
    RETURN NULL;
END $$;

-- Volatile, so that it sees what was committed while its statement waited.
CREATE FUNCTION is_erased(subject uuid) RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (SELECT FROM erasures WHERE subject_id = subject);
END $$;

CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END $$;

CREATE FUNCTION rows_die_with_subject(held_in text, subject_column text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER %I AFTER INSERT ON erasures FOR EACH ROW '
        'EXECUTE FUNCTION delete_rows_of_erased(%L, %L)',
        'erase_' || held_in, held_in, subject_column
    );
    EXECUTE format(
        'CREATE TRIGGER skip_erased BEFORE INSERT ON %I FOR EACH ROW '
        'WHEN (is_erased(NEW.%I)) EXECUTE FUNCTION drop_row()',
        held_in, subject_column
    );
END $$;

SELECT rows_die_with_subject('data_keys', 'subject_id');
"""

# A deleted row stays in its page until a vacuum.
VACUUMED = "autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0"


def vacuum_soon(*tables: str) -> str:
    """Return SQL after which these tables are vacuumed soon after a single deletion.

    The server looks every `autovacuum_naptime`, which is a minute by default. Without this it waits until a
    fifth of the rows is deleted.
    """
    return ";".join(f"ALTER TABLE {table} SET ({VACUUMED})" for table in tables)


# The service cannot delete these rows itself, so the owner's function does it. No trigger but those on
# `erasures` may call it: with one on a table of its own, the service could delete any row (ADR 0021).
DELETED_BY_THE_OWNER = """
ALTER FUNCTION delete_rows_of_erased() SECURITY DEFINER SET search_path = public, pg_temp;
REVOKE EXECUTE ON FUNCTION delete_rows_of_erased() FROM PUBLIC;
"""

SCHEMA: Sequence[Script] = (
    Script("event_log_0003_erasures", ERASURES, {"erasures": Rights("SELECT, INSERT")}),
    Script("event_log_0004_vacuum", vacuum_soon("data_keys")),
    Script("event_log_0005_deleted_by_the_owner", DELETED_BY_THE_OWNER),
)

ERASURES = "erasures"

log = structlog.get_logger(__name__)


def erasure_row(subject_id: UUID) -> SideRow:
    """Return the side row that destroys a subject's key and rows. A second one changes nothing."""
    return SideRow(ERASURES, {"subject_id": subject_id}, or_ignore=True)


def erased_by(rows: Iterable[SideRow]) -> Sequence[UUID]:
    """Return the subjects whose erasure is among these rows."""
    return [UUID(str(row.values["subject_id"])) for row in rows if row.table == ERASURES]


@dataclass(frozen=True, slots=True)
class ErasureLedger:
    """A file of erasures (JSON Lines), kept away from the backups of the database. `path` None: no ledger.

    A restored backup brings back keys that were destroyed later. The ledger shows which to destroy again.
    """

    path: Path | None = None

    async def note(self, subject_ids: Collection[UUID]) -> None:
        """Add these subjects; they are on the disk when this returns. Raises OSError."""
        if self.path is None or not subject_ids:
            return
        try:
            await asyncio.to_thread(_append, self.path, subject_ids)
        except OSError as error:
            log.error("erasure_ledger.not_written", reason=str(error), subjects=len(subject_ids))
            raise

    async def subjects(self) -> Sequence[UUID]:
        """Return the subjects that were ever erased, each once and in order. Raises OSError."""
        if self.path is None or not self.path.exists():
            return []
        return await asyncio.to_thread(_read, self.path)


@dataclass(frozen=True, slots=True)
class ErasedAgain:
    """How many subjects were erased again, and those that failed: subject -> kind of error."""

    erased: int
    failed: Mapping[UUID, str]


async def erase_again(
    log: EventLog, ledger: ErasureLedger, erase: Callable[[UUID], Awaitable[None]]
) -> ErasedAgain:
    """Call `erase` for every subject that a restored backup brought back. One that fails is skipped."""
    failures, subjects = SubjectFailures("erasures"), await brought_back(log, ledger)
    for subject_id in subjects:
        with failures.skip(subject_id):
            await erase(subject_id)
    return ErasedAgain(len(subjects) - len(failures.by_subject), failures.by_subject)


async def brought_back(log: EventLog, ledger: ErasureLedger) -> Sequence[UUID]:
    """Return the subjects that are erased in the ledger and not in this log, restored from a backup.

    Subjects that are erased in this log and missing in the ledger are added to it: a process may have ended
    before it wrote them.
    """
    noted = dict.fromkeys(await ledger.subjects())
    erased = dict.fromkeys(await log.erasures())
    await ledger.note([subject for subject in erased if subject not in noted])
    return [subject for subject in noted if subject not in erased]


def _append(path: Path, subject_ids: Collection[UUID]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    erased_at = datetime.now(UTC)
    lines = b"".join(
        orjson.dumps({"subject_id": subject_id, "erased_at": erased_at}, default=str) + b"\n"
        for subject_id in subject_ids
    )
    # One write at the end of the file, because several processes may write to one ledger.
    ledger = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        whole = _end_of_torn_line(ledger) + lines
        if os.write(ledger, whole) < len(whole):
            raise OSError(errno.ENOSPC, "the erasure ledger was written only in part", str(path))
        os.fsync(ledger)
    finally:
        os.close(ledger)


def _end_of_torn_line(ledger: int) -> bytes:
    """Return a line end when the last line was cut off, so that it does not spoil the next one."""
    size = os.fstat(ledger).st_size
    return b"" if size == 0 or os.pread(ledger, 1, size - 1) == b"\n" else b"\n"


def _read(path: Path) -> list[UUID]:
    subjects: dict[UUID, None] = {}
    with path.open("rb") as ledger:
        for number, line in enumerate(iter(partial(ledger.readline, LONGEST_LINE), b""), start=1):
            try:
                subjects[UUID(orjson.loads(line)["subject_id"])] = None
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                log.error("erasure_ledger.line_unreadable", path=str(path), line=number)
    return list(subjects)
