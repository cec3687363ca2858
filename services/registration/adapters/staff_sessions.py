"""Staff at the counter's pages: a row for each session until it ends (ADR 0014), and their names."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

import asyncpg
import orjson

from registration.application.dependencies import Clock
from shared.platform import limits
from shared.platform.postgres import Script
from shared.platform.roles import Rights

WORKING_DAY = timedelta(hours=10)

# Only a hash of the session id is stored: the rows, or a copy of them in a backup, open no session.
TABLE = """
CREATE TABLE staff_sessions (
    id_hash bytea PRIMARY KEY,
    subject text NOT NULL,
    organisation text NOT NULL,
    ends_at timestamptz NOT NULL
);
"""
# What the next page of a session says was done: pairs of texts, Dutch and English, without personal data.
NOTICES = "ALTER TABLE staff_sessions ADD COLUMN notices jsonb NOT NULL DEFAULT '[]';"
# Events name staff by their subject. The name that the last sign-in said is kept here alone, so that it can
# be deleted: personal data of staff is in no event.
NAMES = """
CREATE TABLE staff_names (
    subject text PRIMARY KEY,
    name text NOT NULL,
    signed_in_at timestamptz NOT NULL
);
"""
SCHEMA: Sequence[Script] = (
    Script(
        "registration_0006_staff_sessions",
        TABLE,
        {"staff_sessions": Rights("SELECT, INSERT, DELETE", reader=False)},
    ),
    Script(
        "registration_0009_staff_notices_and_names",
        NOTICES + NAMES,
        {
            "staff_sessions": Rights("SELECT, INSERT, UPDATE (notices), DELETE", reader=False),
            "staff_names": Rights("SELECT, INSERT, UPDATE, DELETE", reader=False),
        },
    ),
)

BEGIN = """
WITH named AS (
    INSERT INTO staff_names (subject, name, signed_in_at) VALUES ($2, $3, $6)
    ON CONFLICT (subject) DO UPDATE SET name = excluded.name, signed_in_at = excluded.signed_in_at
)
INSERT INTO staff_sessions (id_hash, subject, organisation, ends_at) VALUES ($1, $2, $4, $5)
"""
Notice = tuple[str, str]
"""One line in Dutch and in English."""


class StaffSessions:
    """The sessions in PostgreSQL. Nothing is kept in memory: an end counts in all processes at once."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def begin(self, subject: str, name: str, organisation: str) -> str:
        """Begin a session of WORKING_DAY and return its id, a random secret. The name is kept."""
        session_id, now = secrets.token_urlsafe(32), self._clock.now()
        await self._pool.execute(
            BEGIN, _hash(session_id), subject, name, organisation, now + WORKING_DAY, now
        )
        return session_id

    async def notices_of(self, session_id: str) -> Sequence[Notice] | None:
        """Return the notices for the session's next page; None if it never began or has ended."""
        found: str | None = await self._pool.fetchval(
            "SELECT notices FROM staff_sessions WHERE id_hash = $1 AND ends_at > $2",
            _hash(session_id),
            self._clock.now(),
        )
        return None if found is None else [(dutch, english) for dutch, english in orjson.loads(found)]

    async def keep_notices(self, session_id: str, notices: Sequence[Notice]) -> None:
        """Replace the notices for the session's next page. An unknown id changes nothing."""
        await self._pool.execute(
            "UPDATE staff_sessions SET notices = $2 WHERE id_hash = $1",
            _hash(session_id),
            orjson.dumps(notices).decode(),
        )

    async def names_of(self, subjects: Collection[str]) -> Mapping[str, str]:
        """Return subject -> name of the staff members whose names are known."""
        rows = await self._pool.fetch(
            "SELECT subject, name FROM staff_names WHERE subject = ANY ($1)", list(subjects)
        )
        return {row["subject"]: row["name"] for row in rows}

    async def end(self, session_id: str) -> None:
        """End one session. An unknown id changes nothing."""
        await self._pool.execute("DELETE FROM staff_sessions WHERE id_hash = $1", _hash(session_id))

    async def end_all(self, subject: str) -> int:
        """End all sessions of a staff member; return how many were open."""
        ended = await self._pool.fetch(
            "DELETE FROM staff_sessions WHERE subject = $1 RETURNING ends_at", subject
        )
        now = self._clock.now()
        return sum(row["ends_at"] > now for row in ended)

    async def all_open(self) -> Sequence[asyncpg.Record]:
        """Return subject, organisation and end (`ends_at`) of all open sessions."""
        rows: Sequence[asyncpg.Record] = await self._pool.fetch(
            "SELECT subject, organisation, ends_at FROM staff_sessions WHERE ends_at > $1"
            " ORDER BY subject, ends_at",
            self._clock.now(),
        )
        return rows

    async def forget_old(self, days: int) -> None:
        """Delete the rows of sessions whose time is over, and names of who did not sign in for `days`."""
        now = self._clock.now()
        for statement, before in (
            ("DELETE FROM staff_sessions WHERE ends_at <= $1", now),
            ("DELETE FROM staff_names WHERE signed_in_at < $1", now - timedelta(days=days)),
        ):
            await self._pool.execute(statement, before, timeout=limits.BATCH)


def _hash(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
