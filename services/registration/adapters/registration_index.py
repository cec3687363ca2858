"""The registration index in PostgreSQL. Its rows are side rows of every append (ADR 0004)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg


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
