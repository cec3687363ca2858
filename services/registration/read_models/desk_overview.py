"""What matters at the desks of an organisation today: counts, and the guests behind each count."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from uuid import UUID

import asyncpg

from registration.read_models.guest_directory import SHOWN, FoundGuest


@dataclass(frozen=True, slots=True)
class DeskOverview:
    """Counts of one organisation. `expired_today` says how many of the expired became so today."""

    registered_today: int
    expired: int
    expired_today: int
    links_pending: int


COUNTS = """
SELECT
    (SELECT count(*) FROM desk_statistics
     WHERE organisation = $1 AND day = $2 AND registered + reregistered > 0),
    (SELECT count(*) FROM guest_directory WHERE organisation = $1 AND status = 'expired'),
    (SELECT count(*) FROM desk_statistics JOIN guest_directory AS guest USING (stream_id)
     WHERE desk_statistics.organisation = $1 AND day = $2 AND expired > 0 AND guest.status = 'expired'),
    (SELECT count(*) FROM guest_directory WHERE organisation = $1 AND login_link = 'pending')
"""

REGISTERED_ON = f"""
SELECT {SHOWN} FROM desk_statistics JOIN guest_directory AS guest USING (stream_id)
WHERE desk_statistics.organisation = $1 AND day = $2 AND registered + reregistered > 0
AND ($3::uuid IS NULL OR (sorted_by, stream_id) > (
    (SELECT sorted_by FROM guest_directory WHERE stream_id = $3), $3))
ORDER BY sorted_by, stream_id LIMIT $4
"""  # noqa: S608 - constants only


class DeskOverviews:
    """Reads the guest directory and the statistics of the desks."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def of(self, organisation: str, today: date) -> DeskOverview:
        """The counts."""
        [row] = await self._pool.fetch(COUNTS, organisation, today)
        return DeskOverview(*row)

    async def registered_on(
        self, organisation: str, day: date, after: UUID | None, limit: int
    ) -> list[FoundGuest]:
        """Guests who were registered or registered again that day, by name; a page after a guest."""
        rows = await self._pool.fetch(REGISTERED_ON, organisation, day, after, limit)
        return [FoundGuest(*row) for row in rows]
