"""Every table of identity's database: the log's, messaging's, of the web, of the views, its own."""

from collections.abc import Sequence

from identity.adapters import schema
from identity.read_models.views import VIEWS
from shared import event_log, messaging, projections
from shared.web import idempotency_schema

SCHEMA: Sequence[tuple[str, str]] = (
    *event_log.SCHEMA,
    *messaging.SCHEMA,
    *idempotency_schema.SCHEMA,
    *schema.SCHEMA,
    *projections.SCHEMA,
    *(view.schema() for view in VIEWS),
)
