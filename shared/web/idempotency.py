"""The header `Idempotency-Key`: a repeated POST has the same result and no second effect (R10)."""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import orjson
from fastapi import Header, Request, Response

from shared.event_log import CommandResult, LogUnavailable, SideRow, vacuum_soon
from shared.event_log.export.format import TransferredTable
from shared.platform import limits
from shared.platform.asked_together import AskedTogether
from shared.platform.postgres import TRANSIENT, Script, is_transient
from shared.platform.roles import Rights
from shared.web.problems import Problem
from shared.web.security import Principal

# A trigger sets the position: it is known only in the append, which inserts side rows after its events.
SCHEMA: Sequence[Script] = (
    Script(
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
        {"idempotency_keys": Rights("SELECT, INSERT, DELETE", reader=False)},
    ),
    # A row holds the hash of a person's data, so an erasure deletes it (R19).
    Script(
        "idempotency_0002_erasures",
        """
        CREATE INDEX idempotency_keys_resource_id_idx ON idempotency_keys (resource_id);
        SELECT rows_die_with_subject('idempotency_keys', 'resource_id');
        """,
    ),
    # Rows of the release before have no organisation. They are found for a day, then they are gone.
    Script(
        "idempotency_0003_organisations",
        """
        ALTER TABLE idempotency_keys ADD COLUMN organisation text NOT NULL DEFAULT '';
        ALTER TABLE idempotency_keys DROP CONSTRAINT idempotency_keys_pkey,
            ADD PRIMARY KEY (subject, organisation, route, key);
        """,
    ),
    Script("idempotency_0004_vacuum", vacuum_soon("idempotency_keys")),
)

TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable(
        "idempotency_keys",
        'subject COLLATE "C", organisation COLLATE "C", route COLLATE "C", key COLLATE "C"',
    ),
)

# Many requests in one statement, with one row for each.
FIND = """
SELECT body_hash, resource_id, position
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
       AS wanted (subject, organisation, route, key, number)
  LEFT JOIN LATERAL (
      SELECT * FROM idempotency_keys AS known
       WHERE known.subject = wanted.subject AND known.organisation IN (wanted.organisation, '')
         AND known.route = wanted.route AND known.key = wanted.key LIMIT 1
  ) AS found ON true
 ORDER BY number
"""

KEPT = "24 hours"  # a PostgreSQL interval


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A POST with a key. `subject` is the caller, `route` the method and path, `body` the canonical JSON.

    `organisation`: what the caller acts for; several codes are separated by spaces, none is empty.
    """

    subject: str
    organisation: str
    route: str
    key: str
    body: bytes


Rows = Callable[[UUID], Sequence[SideRow]]
"""Returns the side rows for the append; its argument is the id of the resource."""
Command = Callable[[Rows], Awaitable[CommandResult]]
"""A use case that adds the rows to its append."""


class IdempotencyKeys:
    """The idempotency keys of one service.

    Bodies are hashed with `secret`: in a plain hash, a card number is found by trying all numbers.
    """

    def __init__(self, pool: asyncpg.Pool, secret: bytes) -> None:
        self._pool = pool
        self._secret = hmac.digest(secret, b"idempotency keys", hashlib.sha256)
        self._together = AskedTogether(self._rows)

    async def run_once(
        self, idempotent: IdempotentRequest | None, command: Command, *, look_first: bool = True
    ) -> CommandResult:
        """Run `command`, or return its earlier result. Raises `key_reused` when the key had another body.

        Without a key (`idempotent` None) the command always runs. `look_first` False: for a command whose
        only effect is its append, which refuses a key that exists. Mostly that spares a look.
        """
        if idempotent is None:
            return await command(lambda _resource_id: ())
        if look_first and (before := await self._find(idempotent)) is not None:
            return before
        try:
            return await command(lambda resource_id: (self._row(idempotent, resource_id),))
        except Exception as error:
            # The same request succeeded, before or just now, and this one failed because of it (R10). Or this
            # one did, and its answer was lost; but a database that is silent must not be waited for twice.
            lost = isinstance(error, LogUnavailable) or is_transient(error)
            with suppress(*(TRANSIENT if lost else ())):
                async with asyncio.timeout(limits.CHECK / 2 if lost else None):
                    if (winner := await self._find(idempotent)) is not None:
                        return winner
            raise

    async def forget_old(self) -> int:
        """Delete the keys that are older than KEPT; return how many."""
        status = await self._pool.execute(
            f"DELETE FROM idempotency_keys WHERE created_at < now() - interval '{KEPT}'",  # noqa: S608
            timeout=limits.BATCH,
        )
        return int(status.rpartition(" ")[2])

    async def _find(self, idempotent: IdempotentRequest) -> CommandResult | None:
        row = await self._together.ask(idempotent)
        if row["body_hash"] is None:
            return None
        if not hmac.compare_digest(row["body_hash"], self._hash(idempotent)):
            raise key_reused()
        return CommandResult(row["resource_id"], row["position"])

    async def _rows(self, wanted: Sequence[IdempotentRequest]) -> Sequence[asyncpg.Record]:
        parts = [(asked.subject, asked.organisation, asked.route, asked.key) for asked in wanted]
        return await self._pool.fetch(FIND, *map(list, zip(*parts, strict=True)))

    def _row(self, idempotent: IdempotentRequest, resource_id: UUID) -> SideRow:
        values = {
            "subject": idempotent.subject,
            "organisation": idempotent.organisation,
            "route": idempotent.route,
            "key": idempotent.key,
            "body_hash": self._hash(idempotent),
            "resource_id": resource_id,
        }
        return SideRow("idempotency_keys", values)

    def _hash(self, idempotent: IdempotentRequest) -> bytes:
        return hmac.digest(self._secret, idempotent.body, hashlib.sha256)


def key_reused() -> Problem:
    """Return the problem of a key that was used for another request."""
    return Problem(
        422,
        "idempotency-key-reused",
        "Deze Idempotency-Key is al voor een andere aanvraag gebruikt.",
        "This Idempotency-Key was used for another request.",
    )


async def idempotent_write(
    request: Request,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[\x20-\x7e]+$",
            description="A repeated request with the same key has the same result. Keys are kept for 24 h.",
        ),
    ] = None,
) -> "IdempotentWrite":
    """Return the write of this request. A FastAPI dependency, to use after `requires`.

    Bodies with the same JSON are the same, whatever the order of their members and their white space.
    """
    idempotent = None
    if idempotency_key is not None:
        route = f"{request.method} {request.scope['path']}"
        principal: Principal = request.state.principal
        organisation = " ".join(sorted(principal.organisations))
        body = _canonical(await request.body())
        idempotent = IdempotentRequest(principal.subject, organisation, route, idempotency_key, body)
    return IdempotentWrite(request.app.state.idempotency_keys, idempotent, response)


class IdempotentWrite:
    """Runs the command of a route, once per Idempotency-Key, and sets the header `Event-Position`."""

    def __init__(
        self, keys: IdempotencyKeys, idempotent: IdempotentRequest | None, response: Response
    ) -> None:
        self._keys = keys
        self._idempotent = idempotent
        self._response = response

    async def __call__(self, command: Command, *, look_first: bool = True) -> CommandResult:
        """See `IdempotencyKeys.run_once`."""
        result = await self._keys.run_once(self._idempotent, command, look_first=look_first)
        self._response.headers["Event-Position"] = str(result.position)
        return result


def _canonical(body: bytes) -> bytes:
    if not body:
        return b""
    try:
        parsed: Any = orjson.loads(body)
        return orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, TypeError):  # a TypeError: nested too deeply to be written again
        return body  # the route refuses it as malformed
