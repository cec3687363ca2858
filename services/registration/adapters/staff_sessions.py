"""The sessions of staff at the counter's pages: each has a row until it ends (ADR 0014).

Beside them: which hints of the pages a staff member switched off. Nothing says which page anybody saw.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

import asyncpg

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
SCHEMA: Sequence[Script] = (
    Script(
        "registration_0006_staff_sessions",
        TABLE,
        {"staff_sessions": Rights("SELECT, INSERT, DELETE", reader=False)},
    ),
    Script(
        "registration_0007_staff_hints",
        """
        CREATE TABLE staff_hints (subject text NOT NULL, hint text NOT NULL, PRIMARY KEY (subject, hint));
        """,
        {"staff_hints": Rights("SELECT, INSERT, DELETE", reader=False)},
    ),
)


class StaffSessions:
    """The sessions in PostgreSQL. Nothing is kept in memory: an end counts in all processes at once."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def begin(self, subject: str, organisation: str) -> str:
        """Begin a session of WORKING_DAY and return its id, a random secret."""
        session_id = secrets.token_urlsafe(32)
        await self._pool.execute(
            "INSERT INTO staff_sessions (id_hash, subject, organisation, ends_at) VALUES ($1, $2, $3, $4)",
            _hash(session_id),
            subject,
            organisation,
            self._clock.now() + WORKING_DAY,
        )
        return session_id

    async def is_open(self, session_id: str) -> bool:
        """Return whether the session began and has not ended."""
        found: bool = await self._pool.fetchval(
            "SELECT EXISTS (SELECT FROM staff_sessions WHERE id_hash = $1 AND ends_at > $2)",
            _hash(session_id),
            self._clock.now(),
        )
        return found

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

    async def hints_off(self, subject: str) -> list[str]:
        """Return the hints that a staff member switched off."""
        rows = await self._pool.fetch("SELECT hint FROM staff_hints WHERE subject = $1 ORDER BY 1", subject)
        return [row["hint"] for row in rows]

    async def hide_hint(self, subject: str, hint: str) -> None:
        """Switch one hint off for a staff member; a second time changes nothing."""
        await self._pool.execute(
            "INSERT INTO staff_hints (subject, hint) VALUES ($1, $2) ON CONFLICT DO NOTHING", subject, hint
        )

    async def show_hints(self, subject: str) -> None:
        """Switch all hints of a staff member on again."""
        await self._pool.execute("DELETE FROM staff_hints WHERE subject = $1", subject)

    async def forget_ended(self) -> None:
        """Delete the rows of sessions whose time is over."""
        await self._pool.execute(
            "DELETE FROM staff_sessions WHERE ends_at <= $1", self._clock.now(), timeout=limits.BATCH
        )


def _hash(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
