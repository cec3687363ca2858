"""The sessions of staff at the pages, their names, and the forms that they are filling in (ADR 0014).

A session has a row until it ends. A draft has one until it is saved, at most DRAFT_LIFETIME. Beside them:
which hints of the pages a staff member switched off. Nothing says which page anybody saw.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from os import urandom
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from registration.application.dependencies import Clock
from shared.platform import limits
from shared.platform.postgres import Script, fitting
from shared.platform.roles import Rights
from shared.platform.secrets import derived_key

WORKING_DAY = timedelta(hours=10)
KEEP_LOGOUT_TOKENS = timedelta(minutes=10)
"""Longer than one counts (`id_tokens.LOGOUT_TOKEN_SECONDS`)."""
DRAFT_LIFETIME = timedelta(hours=2)
"""Longer than the pause after which a session is over: its form is still there after a new sign-in."""
MOST_DRAFTS = 50
"""Of one member of staff; the oldest is dropped."""
LARGEST_DRAFT = 250_000  # a card-prefix table is a draft, too
"""Bytes. The largest form of the pages has less than half of it."""
PURPOSE = "registration: drafts of forms"
NONCE_BYTES = 12

# Only a hash of the session id is stored: the rows, or a copy of them in a backup, open no session.
TABLE = """
CREATE TABLE staff_sessions (
    id_hash bytea PRIMARY KEY,
    subject text NOT NULL,
    organisation text NOT NULL,
    ends_at timestamptz NOT NULL
);
"""
# A draft belongs to a person at an organisation, who may go on with it after a new sign-in. `session_hash`:
# the session at whose sign-out it goes.
DRAFTS = """
CREATE TABLE form_drafts (
    subject text NOT NULL,
    organisation text NOT NULL,
    id uuid NOT NULL,
    session_hash bytea NOT NULL,
    sealed bytea NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at timestamptz NOT NULL,
    PRIMARY KEY (subject, organisation, id)
);
CREATE INDEX form_drafts_session_hash_idx ON form_drafts (session_hash);
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
# What the sign-in service calls the person and its own session, to end ours when it ends that one; and which
# of its messages about that were taken. Only hashes: nothing else has to know them.
ELSEWHERE = """
ALTER TABLE staff_sessions ADD COLUMN provider_subject bytea, ADD COLUMN provider_session bytea;
CREATE TABLE logout_tokens (id_hash bytea PRIMARY KEY, ends_at timestamptz NOT NULL);
"""
SCHEMA: Sequence[Script] = (
    Script(
        "registration_0006_staff_sessions",
        TABLE,
        {"staff_sessions": Rights("SELECT, INSERT, DELETE", reader=False)},
    ),
    Script(
        "registration_0009_form_drafts",
        DRAFTS,
        {"form_drafts": Rights("SELECT, INSERT, UPDATE, DELETE", reader=False)},
    ),
    Script(
        "registration_0009_staff_notices_and_names",
        NOTICES + NAMES,
        {
            "staff_sessions": Rights("SELECT, INSERT, UPDATE (notices), DELETE", reader=False),
            "staff_names": Rights("SELECT, INSERT, UPDATE, DELETE", reader=False),
        },
    ),
    Script(
        "registration_0012_staff_hints",
        """
        CREATE TABLE staff_hints (subject text NOT NULL, hint text NOT NULL, PRIMARY KEY (subject, hint));
        """,
        {"staff_hints": Rights("SELECT, INSERT, DELETE", reader=False)},
    ),
    Script(
        "registration_0013_logout_elsewhere",
        ELSEWHERE,
        {"logout_tokens": Rights("SELECT, INSERT, DELETE", reader=False)},
    ),
)
KEEP = """
WITH kept AS (
    INSERT INTO form_drafts (subject, organisation, id, session_hash, sealed, ends_at)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (subject, organisation, id) DO UPDATE
    SET session_hash = $4, sealed = $5, kept_at = clock_timestamp(), ends_at = $6
)
DELETE FROM form_drafts WHERE subject = $1 AND organisation = $2 AND id IN (
    SELECT id FROM form_drafts WHERE subject = $1 AND organisation = $2 AND id <> $3
    ORDER BY kept_at DESC OFFSET $7)
"""

BEGIN = """
WITH named AS (
    INSERT INTO staff_names (subject, name, signed_in_at) VALUES ($2, $3, $6)
    ON CONFLICT (subject) DO UPDATE SET name = excluded.name, signed_in_at = excluded.signed_in_at
)
INSERT INTO staff_sessions (id_hash, subject, organisation, ends_at, provider_subject, provider_session)
VALUES ($1, $2, $4, $5, $7, $8)
"""
# A message that was taken before ends nothing: the row's unique key claims it. A session whose sign-in named
# no session of the service ends with the person.
END_ELSEWHERE = """
WITH claimed AS (
    INSERT INTO logout_tokens (id_hash, ends_at) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1
), ended AS (
    DELETE FROM staff_sessions
    WHERE EXISTS (SELECT FROM claimed) AND {ended}
    RETURNING id_hash
), forgotten AS (
    DELETE FROM form_drafts WHERE session_hash IN (SELECT id_hash FROM ended)
)
SELECT (SELECT count(*) FROM ended) AS ended, EXISTS (SELECT FROM claimed) AS is_new
"""
ENDED = (
    ("bytea", "provider_subject = $3"),
    ("bytea", "provider_session = $4 OR (provider_session IS NULL AND provider_subject = $3)"),
)
Notice = tuple[str, str]
"""One line in Dutch and in English."""


class StaffSessions:
    """The sessions in PostgreSQL. Nothing is kept in memory: an end counts in all processes at once."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def begin(
        self, subject: str, name: str, organisation: str, elsewhere: tuple[str, str | None] | None = None
    ) -> str:
        """Begin a session of WORKING_DAY and return its id, a random secret. The name is kept.

        `elsewhere`: what the sign-in service calls this person, and its own session if it names it.
        """
        session_id, now = secrets.token_urlsafe(32), self._clock.now()
        await self._pool.execute(
            BEGIN,
            _hash(session_id),
            subject,
            name,
            organisation,
            now + WORKING_DAY,
            now,
            *map(_hash_of, elsewhere or (None, None)),
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

    async def is_known(self, session_id: str) -> bool:
        """Return whether the session has a row: it is open, or it ended by itself and nobody ended it."""
        found: bool = await self._pool.fetchval(
            "SELECT EXISTS (SELECT FROM staff_sessions WHERE id_hash = $1)", _hash(session_id)
        )
        return found

    async def end(self, session_id: str) -> None:
        """End one session. An unknown id changes nothing."""
        await self._pool.execute("DELETE FROM staff_sessions WHERE id_hash = $1", _hash(session_id))

    async def end_all(self, subject: str) -> int:
        """End all sessions of a staff member, with their drafts; return how many were open."""
        await self._pool.execute("DELETE FROM form_drafts WHERE subject = $1", subject)
        ended = await self._pool.fetch(
            "DELETE FROM staff_sessions WHERE subject = $1 RETURNING ends_at", subject
        )
        now = self._clock.now()
        return sum(row["ends_at"] > now for row in ended)

    async def end_elsewhere(self, subject: str | None, session_id: str | None, token_id: str) -> int | None:
        """End the sessions that the sign-in service ended, with their drafts; return how many.

        `subject` and `session_id`: its names for the person and for its session, one of them at least.
        `token_id`: of its message; None is returned for one that was taken before.
        """
        named = _hash_of(subject), _hash_of(session_id)
        [row] = await self._pool.fetch(
            END_ELSEWHERE.format(ended=fitting(ENDED, named, first=3)),
            _hash(token_id),
            self._clock.now() + KEEP_LOGOUT_TOKENS,
            *named,
        )
        return int(row["ended"]) if row["is_new"] else None

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

    async def forget_old(self, days: int) -> None:
        """Delete sessions and drafts whose time is over, and names of who did not sign in for `days`."""
        now = self._clock.now()
        for statement, before in (
            ("DELETE FROM form_drafts WHERE ends_at <= $1", now),
            ("DELETE FROM staff_sessions WHERE ends_at <= $1", now),
            ("DELETE FROM logout_tokens WHERE ends_at <= $1", now),
            ("DELETE FROM staff_names WHERE signed_in_at < $1", now - timedelta(days=days)),
        ):
            await self._pool.execute(statement, before, timeout=limits.BATCH)


class DraftTooLarge(ValueError):
    """The form has more than LARGEST_DRAFT bytes."""


class FormDrafts:
    """What staff filled in, encrypted with AES-256-GCM for one person at one organisation.

    The keys are derived from the master keys: the newest encrypts, all decrypt.
    """

    def __init__(self, pool: asyncpg.Pool, master_keys: Sequence[bytes], clock: Clock) -> None:
        self._pool = pool
        self._ciphers = [AESGCM(derived_key(key, PURPOSE)) for key in master_keys]
        self._clock = clock

    async def keep(self, owner: tuple[str, str], session_id: str, draft_id: UUID, draft: object) -> None:
        """Store what JSON can hold, in place of the draft with this id. `owner`: subject and organisation.

        Raises DraftTooLarge.
        """
        plain, nonce = orjson.dumps(draft), urandom(NONCE_BYTES)
        if len(plain) > LARGEST_DRAFT:
            raise DraftTooLarge
        sealed = nonce + self._ciphers[0].encrypt(nonce, plain, _bound_to(owner, draft_id))
        ends_at = self._clock.now() + DRAFT_LIFETIME
        await self._pool.execute(KEEP, *owner, draft_id, _hash(session_id), sealed, ends_at, MOST_DRAFTS - 1)

    async def find(self, owner: tuple[str, str], draft_id: UUID) -> Mapping[str, Any] | None:
        """Return the draft; None if its time is over."""
        sealed = await self._pool.fetchval(
            "SELECT sealed FROM form_drafts"
            " WHERE subject = $1 AND organisation = $2 AND id = $3 AND ends_at > $4",
            *owner,
            draft_id,
            self._clock.now(),
        )
        return None if sealed is None else self._decrypted(sealed, _bound_to(owner, draft_id))

    async def move(self, session_id: str, to_session_id: str) -> None:
        """Move the drafts of a session to the one that its staff member goes on in."""
        await self._pool.execute(
            "UPDATE form_drafts SET session_hash = $2 WHERE session_hash = $1",
            _hash(session_id),
            _hash(to_session_id),
        )

    async def forget(self, owner: tuple[str, str], draft_id: UUID) -> None:
        """Delete one draft: its form was saved."""
        await self._pool.execute(
            "DELETE FROM form_drafts WHERE subject = $1 AND organisation = $2 AND id = $3", *owner, draft_id
        )

    async def forget_all(self, session_id: str) -> None:
        """Delete the drafts of this session: its staff member signed out."""
        await self._pool.execute("DELETE FROM form_drafts WHERE session_hash = $1", _hash(session_id))

    def _decrypted(self, sealed: bytes, bound_to: bytes) -> Mapping[str, Any] | None:
        for cipher in self._ciphers:
            try:
                plain = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound_to)
            except (InvalidTag, ValueError):
                continue
            found: Mapping[str, Any] = orjson.loads(plain)
            return found
        return None


def _bound_to(owner: tuple[str, str], draft_id: UUID) -> bytes:
    return orjson.dumps([*owner, str(draft_id)])


def _hash_of(text: str | None) -> bytes | None:
    return None if text is None else _hash(text)


def _hash(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
