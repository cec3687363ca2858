"""How the last question about each guest went, in PostgreSQL (R12)."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from registration.application.ports import TermCheck

LAST = "SELECT verdict, checked_at, stale, reasons FROM term_checks WHERE guest_id = $1"

# Two may check one guest at once: the later answer stays, whichever is written last.
RECORD = """
INSERT INTO term_checks (guest_id, verdict, checked_at, stale, reasons) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (guest_id) DO UPDATE
SET verdict = excluded.verdict, checked_at = excluded.checked_at,
    stale = excluded.stale, reasons = excluded.reasons
WHERE term_checks.checked_at <= excluded.checked_at
"""


class PostgresTermChecks:
    """See `ports.TermChecks`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def last(self, guest_id: UUID) -> TermCheck | None:
        """See `TermChecks.last`."""
        row = await self._pool.fetchrow(LAST, guest_id)
        if row is None:
            return None
        return TermCheck(row["verdict"], row["checked_at"], row["stale"], tuple(row["reasons"]))

    async def record(self, guest_id: UUID, check: TermCheck) -> None:
        """See `TermChecks.record`."""
        await self._pool.execute(
            RECORD, guest_id, check.verdict, check.checked_at, check.stale, list(check.reasons)
        )
