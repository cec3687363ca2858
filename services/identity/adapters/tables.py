"""All tables of identity's database, and the index of usernames, the one of its own."""

from collections.abc import Collection, Mapping, Sequence

import asyncpg

from identity.read_models import VIEWS
from shared import configuration, event_log, messaging, projections
from shared.event_log.export.format import DATA_KEYS, ERASURES, TransferredTable
from shared.platform.postgres import Script
from shared.platform.roles import Rights
from shared.projections.view import vacuumed_views
from shared.web import idempotency

OWN_SCHEMA: Sequence[Script] = (
    Script(
        "identity_0001_usernames",
        """
        -- The account that has a username at a home library: the unique key claims the username (I2).
        -- The key is an HMAC, so the table holds no readable username.
        CREATE TABLE usernames (
            username_key text NOT NULL,
            account_id text NOT NULL,
            CONSTRAINT usernames_pkey PRIMARY KEY (username_key)
        );
        CREATE INDEX usernames_account_id_idx ON usernames (account_id);
        """,
        {"usernames": Rights("SELECT, INSERT")},
    ),
    Script(
        "identity_0002_erasures",
        """
        -- The stream of the account: an erasure of it deletes the row, and the username is free again (I9).
        ALTER TABLE usernames ADD COLUMN subject_id uuid;
        UPDATE usernames SET subject_id = opened.originator_id FROM stored_events AS opened
         WHERE opened.topic = 'identity.login-account-opened'
           AND convert_from(opened.state, 'UTF8')::jsonb ->> 'account_id' = usernames.account_id;
        ALTER TABLE usernames ALTER COLUMN subject_id SET NOT NULL;
        CREATE INDEX usernames_subject_id_idx ON usernames (subject_id);
        SELECT rows_die_with_subject('usernames', 'subject_id');
        """,
    ),
    Script("identity_0003_vacuum", event_log.vacuum_soon("usernames")),
    Script(
        "identity_0004_orphans",
        """
        -- Guests that registration lost in a restore and that an operator released, with name and reason.
        CREATE TABLE released_orphans (
            guest_id uuid NOT NULL,
            reason text NOT NULL,
            released_by text NOT NULL,
            released_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (guest_id, released_at)
        );
        SELECT rows_die_with_subject('released_orphans', 'guest_id');
        """
        + event_log.vacuum_soon("released_orphans"),
        {"released_orphans": Rights("SELECT, INSERT")},
    ),
)

OWN_TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("usernames", 'username_key COLLATE "C"'),
    TransferredTable("released_orphans", "guest_id, released_at"),
)

SCHEMA: Sequence[Script] = (
    *event_log.SCHEMA,
    *messaging.SCHEMA,
    *configuration.SCHEMA,
    *idempotency.SCHEMA,
    *OWN_SCHEMA,
    *projections.SCHEMA,
    *(view.schema() for view in VIEWS),
    vacuumed_views(VIEWS),
)

# In the order in which an import fills them. Views and leases are left out: each database makes its own.
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    ERASURES,
    DATA_KEYS,
    *messaging.TRANSFERRED_TABLES,
    *configuration.TRANSFERRED_TABLES,
    *idempotency.TRANSFERRED_TABLES,
    *OWN_TRANSFERRED_TABLES,
)


class PostgresUsernames:
    """The table `usernames`: committed state, not a view that may lag."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def account_of(self, username_key: str) -> str | None:
        """See `Usernames.account_of`."""
        holder: str | None = await self._pool.fetchval(
            "SELECT account_id FROM usernames WHERE username_key = $1", username_key
        )
        return holder

    async def holders(
        self, username_keys: Collection[str], account_ids: Collection[str]
    ) -> Mapping[str, str]:
        """See `Usernames.holders`."""
        rows = await self._pool.fetch(
            """
            SELECT username_key, account_id FROM usernames WHERE username_key = ANY ($1)
            UNION SELECT username_key, account_id FROM usernames WHERE account_id = ANY ($2)
            """,
            list(username_keys),
            list(account_ids),
        )
        return {row["username_key"]: row["account_id"] for row in rows}
