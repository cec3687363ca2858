"""The registration index (ADR 0004) and the last term check of each guest (R12), in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from registration.application.dependencies import TermCheck


class PostgresRegistrations:
    """See `dependencies.Registrations`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def guest_of(self, organisation: str, person_ref: str) -> UUID | None:
        """See `Registrations.guest_of`."""
        found: UUID | None = await self._pool.fetchval(
            "SELECT guest_id FROM registrations WHERE organisation = $1 AND person_ref = $2",
            organisation,
            person_ref,
        )
        return found

    async def guests_asking_for(self, organisation: str, account_id: str) -> Sequence[UUID]:
        """See `Registrations.guests_asking_for`."""
        rows = await self._pool.fetch(
            "SELECT guest_id FROM registration_accounts WHERE organisation = $1 AND account_id = $2",
            organisation,
            account_id,
        )
        return [row["guest_id"] for row in rows]


LAST_CHECK = "SELECT verdict, checked_at, stale, reasons FROM term_checks WHERE guest_id = $1"

# Two processes may check one guest at once. The later check stays, also if it is written first.
RECORD_CHECK = """
INSERT INTO term_checks (guest_id, verdict, checked_at, stale, reasons) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (guest_id) DO UPDATE
SET verdict = excluded.verdict, checked_at = excluded.checked_at,
    stale = excluded.stale, reasons = excluded.reasons
WHERE term_checks.checked_at <= excluded.checked_at
"""


class PostgresTermChecks:
    """See `dependencies.TermChecks`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def last(self, guest_id: UUID) -> TermCheck | None:
        """See `TermChecks.last`."""
        row = await self._pool.fetchrow(LAST_CHECK, guest_id)
        if row is None:
            return None
        return TermCheck(row["verdict"], row["checked_at"], row["stale"], tuple(row["reasons"]))

    async def record(self, guest_id: UUID, check: TermCheck) -> None:
        """See `TermChecks.record`."""
        await self._pool.execute(
            RECORD_CHECK, guest_id, check.verdict, check.checked_at, check.stale, list(check.reasons)
        )
