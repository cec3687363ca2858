"""All guests of an organisation, read from two views in one pass, for reports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import asyncpg

# Ids are random, so their order shows nothing. Erased guests are in no view of people.
ALL = """
SELECT guest.stream_id AS guest_id, guest.organisation, guest.branch, guest.status, guest.home_isil,
    newest.subscription_code, newest.begins_on, newest.ends_on, guest.header, guest.login_link,
    guest.merged_into, guest.card_number, guest.aliases, guest.name, guest.birth_date
FROM guest_directory AS guest LEFT JOIN LATERAL (
    SELECT subscription_code, begins_on, ends_on FROM contributions
    WHERE stream_id = guest.stream_id ORDER BY number DESC LIMIT 1
) AS newest ON true
WHERE guest.organisation = $1 ORDER BY guest.stream_id
"""
PAGE = 500


@dataclass(frozen=True, slots=True)
class ListedGuest:
    """A guest. From `card_number` on it is personal data.

    `begins_on`, `ends_on`: the newest contribution row, which may be empty (R15); `ends_on` None: open-ended.
    """

    guest_id: UUID
    organisation: str
    branch: str
    status: str
    home_isil: str
    subscription_code: str | None
    begins_on: date | None
    ends_on: date | None
    header: str
    login_link: str
    merged_into: UUID | None
    card_number: str
    aliases: list[str]
    name: str
    birth_date: date | None


async def all_guests(pool: asyncpg.Pool, organisation: str) -> AsyncIterator[ListedGuest]:
    """Yield all guests of an organisation, as the views have them at one moment."""
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        async for row in connection.cursor(ALL, organisation, prefetch=PAGE):
            yield ListedGuest(*row)
