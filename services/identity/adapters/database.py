"""Every table of identity's database: the log's, messaging's, of the web, of the views, its own."""

from collections.abc import Sequence

from identity.adapters import schema
from identity.read_models.views import VIEWS
from shared import event_log, messaging, projections
from shared.event_log.transfer.tables import DATA_KEYS, ERASURES, TransferredTable
from shared.web import idempotency_schema

SCHEMA: Sequence[tuple[str, str]] = (
    *event_log.SCHEMA,
    *messaging.SCHEMA,
    *idempotency_schema.SCHEMA,
    *schema.SCHEMA,
    *projections.SCHEMA,
    *(view.schema() for view in VIEWS),
)

# In this order they are taken over; views and leases are made anew wherever the log is.
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    ERASURES,
    DATA_KEYS,
    *messaging.TRANSFERRED_TABLES,
    *idempotency_schema.TRANSFERRED_TABLES,
    *schema.TRANSFERRED_TABLES,
)
