"""The `Idempotency-Key` of a POST: a repeated request gets the same response and has no second effect."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import orjson
from fastapi import Header, Request

from shared.event_log import SideRow
from shared.event_log.export.format import TransferredTable
from shared.web.problems import Problem

# The position is known only inside the append, which inserts side rows after its events: hence the trigger.
SCHEMA: Sequence[tuple[str, str]] = (
    (
        "idempotency_0001_keys",
        """
        CREATE TABLE idempotency_keys (
            subject text NOT NULL,
            route text NOT NULL,
            key text NOT NULL,
            body_hash bytea NOT NULL,
            resource_id uuid NOT NULL,
            position bigint NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (subject, route, key)
        );
        CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);

        CREATE FUNCTION idempotency_position() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.position := coalesce(
                (SELECT notification_id FROM stored_events WHERE originator_id = NEW.resource_id
                 ORDER BY originator_version DESC LIMIT 1),
                (SELECT max(notification_id) FROM stored_events),
                0
            );
            RETURN NEW;
        END $$;
        CREATE TRIGGER idempotency_position BEFORE INSERT ON idempotency_keys
            FOR EACH ROW EXECUTE FUNCTION idempotency_position();
        """,
    ),
    # The hash of a body is the hash of somebody's particulars (R19).
    (
        "idempotency_0002_erasures",
        """
        CREATE INDEX idempotency_keys_resource_id_idx ON idempotency_keys (resource_id);
        SELECT rows_die_with_subject('idempotency_keys', 'resource_id');
        """,
    ),
)

TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("idempotency_keys", 'subject COLLATE "C", route COLLATE "C", key COLLATE "C"'),
)

KEPT = "24 hours"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a POST did: to which resource, and the log's position after it."""

    resource_id: UUID
    position: int


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """One POST that carries a key: who sends it where, under which key, and what it says."""

    subject: str
    route: str
    key: str
    body: bytes


Rows = Callable[[UUID], Sequence[SideRow]]
"""Given the resource's id, the rows that belong into the append."""


class IdempotencyKeys:
    """The keys of one service. `secret` hashes bodies: a plain hash of a card number can be guessed."""

    def __init__(self, pool: asyncpg.Pool, secret: bytes) -> None:
        self._pool = pool
        self._secret = hmac.digest(secret, b"idempotency keys", hashlib.sha256)

    async def run_once(
        self, idempotent: IdempotentRequest | None, command: Callable[[Rows], Awaitable[CommandResult]]
    ) -> CommandResult:
        """Run `command`, or answer what it did before; raises `key_reused` when the body was another.

        Without an attempt (no key was sent) the command simply runs.
        """
        if idempotent is None:
            return await command(lambda _resource_id: ())
        if (before := await self._find(idempotent)) is not None:
            return before
        try:
            return await command(lambda resource_id: (self._row(idempotent, resource_id),))
        except Exception:
            # Whatever the refusal is, it may be only the echo of a twin that won meanwhile (R10).
            if (winner := await self._find(idempotent)) is not None:
                return winner
            raise

    async def forget_old(self) -> int:
        """Drop the keys that have been kept long enough; answers how many."""
        status = await self._pool.execute(
            f"DELETE FROM idempotency_keys WHERE created_at < now() - interval '{KEPT}'"  # noqa: S608
        )
        return int(status.rpartition(" ")[2])

    async def _find(self, idempotent: IdempotentRequest) -> CommandResult | None:
        row = await self._pool.fetchrow(
            "SELECT body_hash, resource_id, position FROM idempotency_keys"
            " WHERE subject = $1 AND route = $2 AND key = $3",
            idempotent.subject,
            idempotent.route,
            idempotent.key,
        )
        if row is None:
            return None
        if not hmac.compare_digest(row["body_hash"], self._hash(idempotent)):
            raise key_reused()
        return CommandResult(row["resource_id"], row["position"])

    def _row(self, idempotent: IdempotentRequest, resource_id: UUID) -> SideRow:
        values = {
            "subject": idempotent.subject,
            "route": idempotent.route,
            "key": idempotent.key,
            "body_hash": self._hash(idempotent),
            "resource_id": resource_id,
        }
        return SideRow("idempotency_keys", values)

    def _hash(self, idempotent: IdempotentRequest) -> bytes:
        return hmac.digest(self._secret, idempotent.body, hashlib.sha256)


def key_reused() -> Problem:
    """The key was used for another request."""
    return Problem(
        422,
        "idempotency-key-reused",
        "Deze Idempotency-Key is al voor een andere aanvraag gebruikt.",
        "This Idempotency-Key was used for another request.",
    )


async def idempotent_request(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[\x20-\x7e]+$",
            description="A repeated request is answered the same, and nothing is done twice (kept 24 h).",
        ),
    ] = None,
) -> IdempotentRequest | None:
    """A FastAPI dependency, after the one that signs in. The same JSON in another layout is the same body."""
    if idempotency_key is None:
        return None
    route = f"{request.method} {request.url.path}"
    return IdempotentRequest(
        request.state.principal.subject, route, idempotency_key, _canonical(await request.body())
    )


def _canonical(body: bytes) -> bytes:
    if not body:
        return b""
    try:
        read: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body  # it is refused as malformed anyway
    return orjson.dumps(read, option=orjson.OPT_SORT_KEYS)
