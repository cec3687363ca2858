"""Every table of registration's database: the log's, messaging's, of the web, of the views, its own."""

from collections.abc import Sequence

import asyncpg

from registration.adapters import card_prefixes, nights, schema
from registration.read_models.views import VIEWS
from shared import event_log, messaging, projections
from shared.event_log.transfer.tables import DATA_KEYS, ERASURES, TransferredTable
from shared.web import idempotency_schema

SCHEMA: Sequence[tuple[str, str]] = (
    *event_log.SCHEMA,
    *messaging.SCHEMA,
    *idempotency_schema.SCHEMA,
    *schema.SCHEMA,
    *card_prefixes.SCHEMA,
    *nights.SCHEMA,
    *projections.SCHEMA,
    *(view.schema() for view in VIEWS),
    *schema.VIEW_CHANGES,
)

# In this order they are taken over; views and leases are made anew wherever the log is.
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    ERASURES,
    DATA_KEYS,
    *messaging.TRANSFERRED_TABLES,
    *idempotency_schema.TRANSFERRED_TABLES,
    *schema.TRANSFERRED_TABLES,
    *card_prefixes.TRANSFERRED_TABLES,
    *nights.TRANSFERRED_TABLES,
)


async def schema_is_there(pool: asyncpg.Pool) -> None:
    """Raises RuntimeError when a script has not run yet."""
    names = [name for name, _ in SCHEMA]
    known = await pool.fetchval("SELECT count(*) FROM schema_migrations WHERE name = ANY($1)", names)
    if known != len(names):
        raise RuntimeError("run `registration migrate`")
