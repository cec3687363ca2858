"""The registration index (ADR 0004) and the last term check of each guest (R12), in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import asyncpg

from registration.application.dependencies import IndexState, TermCheck
from shared.platform.asked_together import AskedTogether

GUESTS_OF = """
SELECT ARRAY(
    SELECT guest_id FROM registrations
     WHERE organisation = wanted.organisation AND person_ref = wanted.person_ref
    UNION ALL
    SELECT guest_id FROM shared_references
     WHERE organisation = wanted.organisation AND person_ref = wanted.person_ref
) AS guest_ids
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (organisation, person_ref, number)
 ORDER BY number
"""

# UNION drops what was found before, so it ends. Not by shared references: two persons may have those.
# OFFSET 0: a step through the index for each reference, whatever the planner expects.
REFERENCES_OF = """
WITH RECURSIVE known AS (
    SELECT $1::text AS person_ref
    UNION
    SELECT more.person_ref FROM known CROSS JOIN LATERAL (
        SELECT other.person_ref FROM registrations AS one JOIN registrations AS other USING (guest_id)
         WHERE one.person_ref = known.person_ref OFFSET 0
    ) AS more
)
SELECT person_ref FROM known ORDER BY person_ref
"""

# There are few libraries and many guests, so one step through the index for each value is enough.
STATE = """
WITH RECURSIVE known AS (
    SELECT min(known_as) AS known_as FROM registrations
    UNION ALL
    SELECT (SELECT min(known_as) FROM registrations AS next WHERE next.known_as > known.known_as)
    FROM known WHERE known.known_as IS NOT NULL
)
SELECT ARRAY(SELECT known_as FROM known WHERE known_as IS NOT NULL) AS known_as,
       ARRAY(SELECT alias FROM followed_aliases ORDER BY alias) AS aliases,
       ARRAY(SELECT isil FROM followed_aliases ORDER BY alias) AS isils
"""

GUESTS_KNOWN_AS = """
SELECT guest_id, string_agg(DISTINCT known_as, ' ') AS bases FROM registrations WHERE guest_id IN (
    SELECT guest_id FROM registrations WHERE known_as = ANY($1) LIMIT $2
) GROUP BY guest_id
"""

ADD_REFERENCES = """
INSERT INTO registrations (organisation, guest_id, person_ref, known_as)
SELECT $1, $2, person_ref, $4 FROM unnest($3::text[]) AS person_ref
ON CONFLICT DO NOTHING
"""

SHARE_REFERENCES = """
INSERT INTO shared_references (organisation, guest_id, person_ref)
SELECT $1, $2, person_ref FROM unnest($3::text[]) AS person_ref
EXCEPT SELECT organisation, guest_id, person_ref FROM registrations WHERE guest_id = $2
ON CONFLICT DO NOTHING
"""


class PostgresRegistrations:
    """See `dependencies.Registrations`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._together = AskedTogether(self._guests_of)

    async def guests_of(self, organisation: str, person_ref: str) -> Sequence[UUID]:
        """See `Registrations.guests_of`."""
        return await self._together.ask((organisation, person_ref))

    async def _guests_of(self, wanted: Sequence[tuple[str, str]]) -> Sequence[Sequence[UUID]]:
        rows = await self._pool.fetch(GUESTS_OF, *map(list, zip(*wanted, strict=True)))
        return [row["guest_ids"] for row in rows]

    async def references_of(self, person_ref: str) -> Sequence[str]:
        """See `Registrations.references_of`."""
        return [row["person_ref"] for row in await self._pool.fetch(REFERENCES_OF, person_ref)]

    async def state(self) -> IndexState:
        """See `Registrations.state`."""
        [row] = await self._pool.fetch(STATE)
        return IndexState(dict(zip(row["aliases"], row["isils"], strict=True)), row["known_as"])

    async def follow(self, aliases: Mapping[str, str]) -> None:
        """See `Registrations.follow`."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE followed_aliases IN SHARE ROW EXCLUSIVE MODE")
            await connection.execute("DELETE FROM followed_aliases")
            await connection.executemany("INSERT INTO followed_aliases VALUES ($1, $2)", aliases.items())

    async def guests_known_as(self, known_as: Sequence[str], limit: int) -> Mapping[UUID, str]:
        """See `Registrations.guests_known_as`."""
        rows = await self._pool.fetch(GUESTS_KNOWN_AS, known_as, limit)
        return {row["guest_id"]: row["bases"] for row in rows}

    async def make_known(self, guest_id: UUID, organisation: str, refs: Sequence[str], known_as: str) -> None:
        """See `Registrations.make_known`."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(ADD_REFERENCES, organisation, guest_id, refs, known_as)
            await connection.execute(SHARE_REFERENCES, organisation, guest_id, refs)
            await connection.execute(
                "UPDATE registrations SET known_as = $2 WHERE guest_id = $1", guest_id, known_as
            )

    async def guests_asking_for(self, organisation: str, account_id: str) -> Sequence[UUID]:
        """See `Registrations.guests_asking_for`."""
        rows = await self._pool.fetch(
            "SELECT guest_id FROM registration_accounts WHERE organisation = $1 AND account_id = $2",
            organisation,
            account_id,
        )
        return [row["guest_id"] for row in rows]


LAST_CHECKS = """
SELECT guest_id, verdict, checked_at, stale, reasons, other_guest, answered_at, changed
FROM term_checks WHERE guest_id = ANY ($1)
"""

# Two processes may check one guest at once. The later check stays, also if it is written first.
RECORD_CHECK = """
INSERT INTO term_checks (guest_id, verdict, checked_at, stale, reasons, other_guest, answered_at, changed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (guest_id) DO UPDATE
SET verdict = excluded.verdict, checked_at = excluded.checked_at,
    stale = excluded.stale, reasons = excluded.reasons, other_guest = excluded.other_guest,
    answered_at = coalesce(excluded.answered_at, term_checks.answered_at), changed = excluded.changed
WHERE term_checks.checked_at <= excluded.checked_at
"""


class PostgresTermChecks:
    """See `dependencies.TermChecks`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._together = AskedTogether(self._last)

    async def last(self, guest_id: UUID) -> TermCheck | None:
        """See `TermChecks.last`."""
        return await self._together.ask(guest_id)

    async def _last(self, guest_ids: Sequence[UUID]) -> Sequence[TermCheck | None]:
        rows = await self._pool.fetch(LAST_CHECKS, guest_ids)
        checks = {row["guest_id"]: _term_check(row) for row in rows}
        return [checks.get(guest_id) for guest_id in guest_ids]

    async def record(self, guest_id: UUID, check: TermCheck) -> None:
        """See `TermChecks.record`."""
        await self._pool.execute(
            RECORD_CHECK,
            guest_id,
            check.verdict,
            check.checked_at,
            check.stale,
            list(check.reasons),
            check.other_guest,
            check.answered_at,
            None if check.changed is None else list(check.changed),
        )


def _term_check(row: asyncpg.Record) -> TermCheck:
    _, verdict, checked_at, stale, reasons, other_guest, answered_at, changed = row
    changes = None if changed is None else tuple(changed)
    return TermCheck(verdict, checked_at, stale, tuple(reasons), other_guest, answered_at, changes)
