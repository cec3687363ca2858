"""Due guests and nightly reports in PostgreSQL, and their metrics (R12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from uuid import UUID

import asyncpg
from prometheus_client import Gauge

from registration.application.dependencies import TermCheck
from registration.application.nightly_report import (
    DueGuest,
    LibraryReport,
    NightlyChecks,
    NightlyReport,
    NightlyRequest,
    Place,
)
from registration.domain.events import Encrypted
from registration.domain.term import Term
from registration.domain.term_check import NightlyCheck, Status, Tally
from shared.event_log.export.format import TransferredTable
from shared.platform import limits
from shared.platform.postgres import Script
from shared.platform.roles import Rights

COUNTS = tuple(count.name for count in fields(Tally))
FIRST_COUNTS = (
    *("asked", "unchanged", "confirmed", "expired", "suspended", "reinstated"),
    *("stale", "not_found", "failed"),
)

# `night`: the day of the nightly check that wrote the row. A check at the counter leaves it as it is.
TABLES = f"""
ALTER TABLE term_checks ADD COLUMN night date;

CREATE TABLE nights (
    day date PRIMARY KEY,
    started_at timestamptz NOT NULL,
    ended_at timestamptz
);

CREATE TABLE night_libraries (
    day date NOT NULL REFERENCES nights,
    home_isil text NOT NULL,
    {", ".join(f"{name} bigint NOT NULL DEFAULT 0" for name in FIRST_COUNTS)},
    unanswered bigint NOT NULL DEFAULT 0,
    problem text,
    PRIMARY KEY (day, home_isil)
);
"""
SCHEMA: Sequence[Script] = (
    Script(
        "registration_0005_nights",
        TABLES,
        {
            "nights": Rights("SELECT, INSERT, UPDATE"),
            "night_libraries": Rights("SELECT, INSERT, UPDATE"),
        },
    ),
    Script(
        "registration_0008_other_people",
        """
        ALTER TABLE night_libraries
            ADD COLUMN other_person bigint NOT NULL DEFAULT 0,
            ADD COLUMN card_taken bigint NOT NULL DEFAULT 0;
        ALTER TABLE term_checks ADD COLUMN other_guest uuid;
        """,
    ),
    Script(
        "registration_0010_home_answers",
        "ALTER TABLE term_checks ADD COLUMN answered_at timestamptz, ADD COLUMN changed text[]",
    ),
    # At most one request waits; the others say who asked, and when.
    Script(
        "registration_0009_nightly_requests",
        """
        CREATE TABLE nightly_requests (
            requested_at timestamptz PRIMARY KEY DEFAULT clock_timestamp(),
            by text NOT NULL,
            done_at timestamptz
        );
        CREATE UNIQUE INDEX nightly_requests_waiting_idx ON nightly_requests ((done_at IS NULL))
            WHERE done_at IS NULL;
        """,
        {"nightly_requests": Rights("SELECT, INSERT, UPDATE")},
    ),
)
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("nights", "day"),
    TransferredTable("night_libraries", 'day, home_isil COLLATE "C"'),
    TransferredTable("nightly_requests", "requested_at"),
)

# A guest is due from the day after registration, unless its home library has already replied since midnight,
# to the nightly check or to a counter. $1: the day of the nightly check, $2: the moment at which it begins.
DUE = """
FROM terms_due AS due LEFT JOIN term_checks AS checked ON checked.guest_id = due.stream_id
WHERE due.begins_on < $1 AND (checked.checked_at >= $2 AND checked.verdict <> 'unavailable') IS NOT TRUE
"""
# See `Turn`. A check at the counter may be the one that gave no usable reply. $5: the moment this run began.
FAILED = "coalesce(checked.night = $1 AND checked.verdict = 'unavailable', false)"
TURN = f"""
CASE WHEN {FAILED} THEN CASE WHEN checked.checked_at < $5 THEN 2 ELSE 3 END
     WHEN checked.stale THEN 1 ELSE 0 END
"""
COUNT = f"SELECT due.home_isil, count(*) {DUE} GROUP BY due.home_isil"
PAGE = f"""
SELECT due.stream_id, due.organisation, due.status, due.begins_on, due.ends_on, due.provisional,
    due.sealed_card, due.sealed_details, {FAILED} {DUE}
AND due.home_isil = $3 AND {TURN} = $4 AND due.stream_id > $6 ORDER BY due.home_isil, due.stream_id LIMIT $7
"""

BEGIN = """
INSERT INTO nights (day, started_at) VALUES ($1, $2) ON CONFLICT (day) DO UPDATE SET ended_at = NULL
"""
RECORD = f"""
WITH checks AS (
    INSERT INTO term_checks
        (guest_id, verdict, checked_at, stale, reasons, other_guest, answered_at, changed, night)
    SELECT guest_id, verdict, checked_at, stale, string_to_array(reasons, ','), other_guest, answered_at,
        string_to_array(changed, ','), $1
    FROM unnest($3::uuid[], $4::text[], $5::timestamptz[], $6::boolean[], $7::text[], $8::uuid[],
            $9::timestamptz[], $10::text[])
        AS checked (guest_id, verdict, checked_at, stale, reasons, other_guest, answered_at, changed)
    ON CONFLICT (guest_id) DO UPDATE
    SET verdict = excluded.verdict, checked_at = excluded.checked_at, stale = excluded.stale,
        reasons = excluded.reasons, other_guest = excluded.other_guest, night = excluded.night,
        answered_at = coalesce(excluded.answered_at, term_checks.answered_at), changed = excluded.changed
    WHERE term_checks.checked_at <= excluded.checked_at
)
INSERT INTO night_libraries AS counted (day, home_isil, {", ".join(COUNTS)})
VALUES ($1, $2, {", ".join(f"${number}" for number in range(11, 11 + len(COUNTS)))})
ON CONFLICT (day, home_isil) DO UPDATE
SET {", ".join(f"{name} = counted.{name} + excluded.{name}" for name in COUNTS)}
"""  # noqa: S608 - constants
LEFT = """
INSERT INTO night_libraries (day, home_isil, unanswered, problem)
SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[])
ON CONFLICT (day, home_isil) DO UPDATE SET unanswered = excluded.unanswered, problem = excluded.problem
"""
RECENT = "SELECT day, started_at, ended_at FROM nights ORDER BY day DESC LIMIT $1"
LIBRARIES = f"""
SELECT day, home_isil, unanswered, problem, {", ".join(COUNTS)}
FROM night_libraries WHERE day = ANY ($1) ORDER BY home_isil
"""  # noqa: S608 - constants
REQUESTED = "SELECT requested_at, by FROM nightly_requests WHERE done_at IS NULL"
REQUEST = "INSERT INTO nightly_requests (by) VALUES ($1) ON CONFLICT DO NOTHING"
FULFIL = "UPDATE nightly_requests SET done_at = clock_timestamp() WHERE requested_at = $1"


class PostgresNightlyChecks:
    """See `nightly_report.NightlyChecks`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, nightly: NightlyCheck, now: datetime) -> None:
        """See `NightlyChecks.begin`."""
        await self._pool.execute(BEGIN, nightly.day, now)

    async def due(self, nightly: NightlyCheck) -> Mapping[str, int]:
        """See `NightlyChecks.due`."""
        rows = await self._pool.fetch(COUNT, nightly.day, nightly.begins_at, timeout=limits.BATCH)
        return {row["home_isil"]: row["count"] for row in rows}

    async def page(
        self, nightly: NightlyCheck, home_isil: str, place: Place, limit: int
    ) -> Sequence[DueGuest]:
        """See `NightlyChecks.page`."""
        at = (place.turn.value, place.began, place.after)
        rows = await self._pool.fetch(
            PAGE, nightly.day, nightly.begins_at, home_isil, *at, limit, timeout=limits.BATCH
        )
        return [_due_guest(row) for row in rows]

    async def record(
        self, nightly: NightlyCheck, home_isil: str, checks: Mapping[UUID, TermCheck], tally: Tally
    ) -> None:
        """See `NightlyChecks.record`."""
        outcomes = checks.values()
        await self._pool.execute(
            RECORD,
            nightly.day,
            home_isil,
            list(checks),
            [check.verdict for check in outcomes],
            [check.checked_at for check in outcomes],
            [check.stale for check in outcomes],
            [",".join(check.reasons) for check in outcomes],
            [check.other_guest for check in outcomes],
            [check.answered_at for check in outcomes],
            [None if check.changed is None else ",".join(check.changed) for check in outcomes],
            *tally.as_dict().values(),
            timeout=limits.BATCH,
        )

    async def end(self, nightly: NightlyCheck, now: datetime, problems: Mapping[str, str]) -> None:
        """See `NightlyChecks.end`."""
        left = await self.due(nightly)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "UPDATE night_libraries SET unanswered = 0, problem = NULL WHERE day = $1", nightly.day
            )
            await connection.execute(
                LEFT, nightly.day, list(left), list(left.values()), [problems.get(isil) for isil in left]
            )
            await connection.execute("UPDATE nights SET ended_at = $2 WHERE day = $1", nightly.day, now)

    async def last(self) -> NightlyReport | None:
        """See `NightlyChecks.last`."""
        return next(iter(await self.recent(1)), None)

    async def recent(self, limit: int) -> Sequence[NightlyReport]:
        """See `NightlyChecks.recent`."""
        nights = await self._pool.fetch(RECENT, limit)
        libraries: dict[date, list[LibraryReport]] = {row["day"]: [] for row in nights}
        for day, isil, left, problem, *counts in await self._pool.fetch(LIBRARIES, list(libraries)):
            libraries[day].append(LibraryReport(isil, Tally(*counts), left, problem))
        return [
            NightlyReport(NightlyCheck(day), started_at, ended_at, libraries[day])
            for day, started_at, ended_at in nights
        ]

    async def request(self, by: str) -> NightlyRequest:
        """See `NightlyChecks.request`."""
        while (waiting := await self.requested()) is None:
            await self._pool.execute(REQUEST, by)
        return waiting

    async def requested(self) -> NightlyRequest | None:
        """See `NightlyChecks.requested`."""
        row = await self._pool.fetchrow(REQUESTED)
        return None if row is None else NightlyRequest(*row)

    async def fulfil(self, request: NightlyRequest) -> None:
        """See `NightlyChecks.fulfil`."""
        await self._pool.execute(FULFIL, request.requested_at)


def _due_guest(row: asyncpg.Record) -> DueGuest:
    guest_id, organisation, status, begin, end, provisional, card, details, failed_before = row
    return DueGuest(
        guest_id,
        organisation,
        Status(status),
        Term(begin, end, provisional),
        sealed_card=Encrypted(card),
        sealed_details=None if details is None else Encrypted(details),
        failed_before=failed_before,
    )


_guests = Gauge("term_check_guests", "Guests in the last nightly check, by outcome", ["outcome"])
_left = Gauge("term_check_left_guests", "Guests without a reply in the last nightly check")
_libraries = Gauge(
    "term_check_left_libraries", "Home libraries that left guests without a reply in the last nightly check"
)
_ended = Gauge(
    "term_check_ended_timestamp_seconds", "Unix time at which the last nightly check ended; 0 while it runs"
)


async def update_nightly_metrics(nightly_checks: NightlyChecks) -> None:
    """Set the gauges to the last nightly report."""
    last = await nightly_checks.last()
    if last is None:
        return
    for outcome in Tally().as_dict():
        _guests.labels(outcome).set(sum(library.tally.as_dict()[outcome] for library in last.libraries))
    left = [library.left for library in last.libraries if library.left]
    _left.set(sum(left))
    _libraries.set(len(left))
    _ended.set(last.ended_at.timestamp() if last.ended_at else 0)
