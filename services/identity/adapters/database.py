"""Every table of identity's database: the log's, messaging's, those of the web, its own."""

from collections.abc import Sequence

from identity.adapters import schema
from shared import event_log, messaging
from shared.web import idempotency_schema

SCHEMA: Sequence[tuple[str, str]] = (
    *event_log.SCHEMA,
    *messaging.SCHEMA,
    *idempotency_schema.SCHEMA,
    *schema.SCHEMA,
)
