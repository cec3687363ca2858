"""Who looked up which person: limited, recorded, read by operators, deleted after a time (R22)."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import orjson
import structlog

from registration.application.dependencies import Context, Lookup, LookupKind
from registration.domain.errors import TooManyLookups
from registration.read_models.guest_directory import asked_for
from shared.event_log import vacuum_soon
from shared.event_log.export.format import TransferredTable
from shared.kernel.text import harmless
from shared.platform import limits
from shared.platform.postgres import Script, fitting
from shared.platform.roles import Rights
from shared.platform.secrets import derived_key

log = structlog.get_logger(__name__)

# `what`: a keyed hash of what was typed. `account`: one of the id of the account that was found: what links a
# person across tables is not stored in clear text (ADR 0005). `counts`: the row counts towards the limit: one
# registration looks up one card several times, so the same text at the same home library counts once in ten
# minutes. Lists of guests always count: each page of one shows other people.
# `record_lookup` checks the limit and inserts in one call; the lock makes calls of one subject wait for each
# other, so that many at once do not pass together. Rows in the future (a clock that went back) do not count.
TABLES = """
CREATE TABLE lookups (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    subject text NOT NULL,
    organisation text NOT NULL,
    kind text NOT NULL,
    home_isil text,
    what text,
    outcome text NOT NULL,
    account text,
    counts boolean NOT NULL
);
CREATE INDEX lookups_subject_at_idx ON lookups (subject, at) WHERE counts;
CREATE INDEX lookups_organisation_at_idx ON lookups (organisation, at, id);
CREATE INDEX lookups_at_idx ON lookups USING brin (at);

CREATE TABLE lookup_guests (
    lookup_id uuid NOT NULL REFERENCES lookups ON DELETE CASCADE,
    guest_id uuid NOT NULL,
    PRIMARY KEY (lookup_id, guest_id)
);
CREATE INDEX lookup_guests_guest_id_idx ON lookup_guests (guest_id);
SELECT rows_die_with_subject('lookup_guests', 'guest_id');

CREATE FUNCTION record_lookup(
    by_subject text, of_organisation text, of_kind text, at_home text, of_what text, with_outcome text,
    found_account text, found_guests uuid[], limited boolean, per_minute integer, per_hour integer
) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
    moment timestamptz;
    free_at timestamptz;
    recorded uuid;
    counted boolean := limited;
BEGIN
    IF limited THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('lookups of ' || by_subject, 0));
        moment := clock_timestamp();
        counted := of_kind = 'guests' OR NOT EXISTS (
            SELECT FROM lookups WHERE counts AND subject = by_subject AND what = of_what
            AND home_isil IS NOT DISTINCT FROM at_home
            AND at > moment - interval '10 minutes' AND at <= moment);
    END IF;
    IF counted THEN
        SELECT max(ends_at) INTO free_at FROM (
            (SELECT at + interval '1 minute' AS ends_at FROM lookups
             WHERE counts AND subject = by_subject AND at > moment - interval '1 minute' AND at <= moment
             ORDER BY at DESC OFFSET per_minute - 1 LIMIT 1)
            UNION ALL
            (SELECT at + interval '1 hour' FROM lookups
             WHERE counts AND subject = by_subject AND at > moment - interval '1 hour' AND at <= moment
             ORDER BY at DESC OFFSET per_hour - 1 LIMIT 1)
        ) AS full_windows;
        IF free_at IS NOT NULL THEN
            RETURN extract(epoch FROM free_at - moment);
        END IF;
    END IF;
    INSERT INTO lookups (subject, organisation, kind, home_isil, what, outcome, account, counts)
    VALUES (by_subject, of_organisation, of_kind, at_home, of_what, with_outcome, found_account, counted)
    RETURNING id INTO recorded;
    INSERT INTO lookup_guests SELECT recorded, guest FROM unnest(found_guests) AS guest
    ON CONFLICT DO NOTHING;
    RETURN 0;
END $$;
"""
# A reader would read them without being recorded. The worker deletes old ones.
SCHEMA: Sequence[Script] = (
    Script(
        "registration_0007_lookups",
        TABLES + vacuum_soon("lookup_guests"),
        {
            "lookups": Rights("SELECT, INSERT, DELETE", reader=False),
            "lookup_guests": Rights("SELECT, INSERT", reader=False),
        },
    ),
    Script("registration_0014_reasons_of_exports", "ALTER TABLE lookups ADD COLUMN reason text"),
)
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("lookups", "at, id"),
    TransferredTable("lookup_guests", "lookup_id, guest_id"),
)

RECORD = "SELECT record_lookup($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
# It always counts as allowed: who may run commands on the machine can read the database.
RECORD_EXPORT = """
INSERT INTO lookups (subject, organisation, kind, outcome, counts, reason)
VALUES ($1, $2, $3, $4, false, $5)
"""
FOUND = """
SELECT id, at, subject, organisation, kind, home_isil, what, outcome, account,
    ARRAY(SELECT guest_id FROM lookup_guests WHERE lookup_id = lookups.id ORDER BY guest_id) AS guest_ids,
    reason
FROM lookups WHERE {listed}
"""
LISTED = (
    ("text", "organisation = $1"),
    ("text", "subject = $2"),
    ("text[]", "what = ANY ($3) OR account = ANY ($3)"),
    ("uuid", "EXISTS (SELECT FROM lookup_guests WHERE lookup_id = lookups.id AND guest_id = $4)"),
    ("date", "at >= $5::date::timestamp AT TIME ZONE 'Europe/Amsterdam'"),
    ("date", "at < ($6::date + 1)::timestamp AT TIME ZONE 'Europe/Amsterdam'"),
)
NEWEST = f"{FOUND} ORDER BY at DESC, id DESC LIMIT $7"
IN_ORDER = f"{FOUND} ORDER BY at, id"
# An operator's page shows names again and again; the first time in an hour is recorded.
NOT_NAMED = """
SELECT guest_id FROM unnest($2::uuid[]) AS wanted (guest_id) WHERE NOT EXISTS (
    SELECT FROM lookup_guests AS named JOIN lookups ON lookups.id = named.lookup_id
    WHERE named.guest_id = wanted.guest_id AND subject = $1 AND at > clock_timestamp() - interval '1 hour')
"""
FORGET = "DELETE FROM lookups WHERE at < clock_timestamp() - make_interval(days => $1)"

NOT_LIMITED = frozenset({LookupKind.REGISTRATION, LookupKind.READING})
PURPOSE = "registration: look-ups"


@dataclass(frozen=True, slots=True)
class Limits:
    """How many look-ups one subject may make."""

    per_minute: int
    per_hour: int


@dataclass(frozen=True, slots=True)
class RecordedLookup:
    """One look-up. `what`, `account`: keyed hashes of what was typed and of the id of a found account."""

    id: UUID
    at: datetime
    subject: str
    organisation: str
    kind: str
    home_isil: str | None
    what: str | None
    outcome: str
    account: str | None
    guest_ids: Sequence[UUID]
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class LookupFilter:
    """Which look-ups to read. None: all. `what`: a text that was typed, or the id of a found account.

    `since`, `until`: days, both included.
    """

    organisation: str | None = None
    subject: str | None = None
    what: str | None = None
    guest_id: UUID | None = None
    since: date | None = None
    until: date | None = None


def _reading(wanted: LookupFilter, outcome: str) -> Lookup:
    guest_ids = () if wanted.guest_id is None else (wanted.guest_id,)
    return Lookup(LookupKind.READING, wanted.what or "", outcome=outcome, guest_ids=guest_ids)


def as_record(lookup: RecordedLookup) -> dict[str, Any]:
    """Return a look-up as an operator reads it: names and values."""
    record = asdict(lookup)
    del record["id"]
    return record | {"guest_ids": [str(guest_id) for guest_id in lookup.guest_ids]}


async def lines_of(found: AsyncIterator[RecordedLookup], form: Literal["csv", "jsonl"]) -> AsyncIterator[str]:
    """Yield the lines of an export; CSV begins with a heading."""
    names = [field.name for field in fields(RecordedLookup) if field.name != "id"]
    if form == "csv":
        yield _csv_line(names)
    async for lookup in found:
        record = as_record(lookup)
        if form == "jsonl":
            yield orjson.dumps(record).decode() + "\n"
        else:
            yield _csv_line([_cell(record[name]) for name in names])


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case list():
            return " ".join(value)
        case datetime():
            return value.isoformat()
    return harmless(str(value))


class PostgresLookups:
    """See `dependencies.Lookups`. Texts are hashed with a key that is derived from `key`."""

    def __init__(self, pool: asyncpg.Pool, key: bytes, limits: Limits) -> None:
        self._pool = pool
        self._key = derived_key(key, PURPOSE)
        self._limits = limits
        self._full_until: dict[str, float] = {}  # subject -> when, by the monotonic clock

    def admit(self, context: Context) -> None:
        """See `Lookups.admit`."""
        subject = context.metadata.caused_by
        wait = self._full_until.get(subject, 0.0) - time.monotonic()
        if wait > 0:
            raise TooManyLookups(math.ceil(wait))
        self._full_until.pop(subject, None)

    async def record(self, lookup: Lookup, context: Context) -> None:
        """See `Lookups.record`."""
        subject = context.metadata.caused_by
        if lookup.kind is LookupKind.EXPORT:
            values = (subject, context.organisation, lookup.kind.value, lookup.outcome, lookup.reason)
            await self._pool.execute(RECORD_EXPORT, *values)
            return
        wait = await self._pool.fetchval(
            RECORD,
            *(subject, context.organisation, lookup.kind.value, lookup.home_isil, self._hash(lookup.what)),
            *(lookup.outcome, self._hash(lookup.account_id or ""), list(lookup.guest_ids)),
            *(lookup.kind not in NOT_LIMITED, self._limits.per_minute, self._limits.per_hour),
        )
        if wait > 0:
            self._full_until[subject] = time.monotonic() + wait
            log.warning("lookup.refused", subject=subject, kind=lookup.kind.value, seconds=math.ceil(wait))
            raise TooManyLookups(math.ceil(wait))

    async def not_named_lately(self, subject: str, guest_ids: Sequence[UUID]) -> list[UUID]:
        """Return those guests that no look-up of this staff member found in the last hour."""
        return [row["guest_id"] for row in await self._pool.fetch(NOT_NAMED, subject, list(guest_ids))]

    async def newest(self, wanted: LookupFilter, limit: int, by: Context) -> list[RecordedLookup]:
        """Return the newest look-ups that fit, the newest first. The reading itself is recorded before."""
        await self.record(_reading(wanted, "listed"), by)
        values = self._parameters(wanted)
        rows = await self._pool.fetch(NEWEST.format(listed=fitting(LISTED, values)), *values, limit)
        return [RecordedLookup(*row) for row in rows]

    async def all_in_order(self, wanted: LookupFilter, by: Context) -> AsyncIterator[RecordedLookup]:
        """Yield all look-ups that fit, the oldest first. The reading itself is recorded before."""
        await self.record(_reading(wanted, "exported"), by)
        values = self._parameters(wanted)
        query = IN_ORDER.format(listed=fitting(LISTED, values))
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            async for row in connection.cursor(query, *values):
                yield RecordedLookup(*row)

    async def forget_old(self, days: int) -> int:
        """Delete the look-ups that are older than so many days; return how many."""
        status = await self._pool.execute(FORGET, days, timeout=limits.BATCH)
        return int(status.rpartition(" ")[2])

    def _parameters(self, wanted: LookupFilter) -> tuple[Any, ...]:
        what = None if wanted.what is None else self._hashes(wanted.what)
        return (wanted.organisation, wanted.subject, what, wanted.guest_id, wanted.since, wanted.until)

    def _hashes(self, typed: str) -> list[str | None]:
        """Return the hashes under which a text may be recorded: a search for guests is, by its words."""
        return [self._hash(typed), self._hash(" ".join(asked_for(typed) or ()))]

    def _hash(self, text: str) -> str | None:
        """Return the keyed hash of what was typed, whatever its case and spaces; None for nothing."""
        plain = " ".join(text.casefold().split())
        return hmac.new(self._key, plain.encode(), hashlib.sha256).hexdigest() if plain else None
