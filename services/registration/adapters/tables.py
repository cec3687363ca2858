"""All tables of registration's database."""

from __future__ import annotations

from collections.abc import Sequence

from registration.adapters import card_prefixes, lookups, nightly_checks, staff_sessions
from registration.read_models import VIEWS
from shared import event_log, messaging, projections
from shared.event_log.export.format import DATA_KEYS, ERASURES, TransferredTable
from shared.platform.postgres import Script
from shared.platform.roles import Rights
from shared.projections.view import vacuumed_views
from shared.web import idempotency

# The registration index. Its rows are written in the append's own transaction, so they never lag. The primary
# key of `registrations` is R10: one guest per person per library. A replaced card is another row of a guest.
REGISTRATIONS = """
CREATE TABLE registrations (
    organisation text NOT NULL,
    person_ref text NOT NULL,
    guest_id uuid NOT NULL,
    PRIMARY KEY (organisation, person_ref)
);
CREATE INDEX registrations_guest_id_idx ON registrations (guest_id);

CREATE TABLE registration_accounts (
    organisation text NOT NULL,
    account_id text NOT NULL,
    guest_id uuid NOT NULL,
    PRIMARY KEY (organisation, account_id, guest_id)
);
"""

# State of the checks, not events (R12): the home library's last reply, and whether the term is stale.
TERM_CHECKS = """
CREATE TABLE term_checks (
    guest_id uuid PRIMARY KEY,
    verdict text NOT NULL,
    checked_at timestamptz NOT NULL,
    stale boolean NOT NULL,
    reasons text[] NOT NULL
);
"""

# An erasure deletes all rows that find a guest or describe one (R19).
OWN_ERASURES = """
SELECT rows_die_with_subject('registrations', 'guest_id');
CREATE INDEX registration_accounts_guest_id_idx ON registration_accounts (guest_id);
SELECT rows_die_with_subject('registration_accounts', 'guest_id');
SELECT rows_die_with_subject('term_checks', 'guest_id');
"""

OWN_SCHEMA: Sequence[Script] = (
    Script(
        "registration_0001_registrations",
        REGISTRATIONS,
        {"registrations": Rights("SELECT, INSERT"), "registration_accounts": Rights("SELECT, INSERT")},
    ),
    Script("registration_0002_term_checks", TERM_CHECKS, {"term_checks": Rights("SELECT, INSERT, UPDATE")}),
    Script("registration_0003_erasures", OWN_ERASURES),
    Script(
        "registration_0004_vacuum",
        event_log.vacuum_soon("registrations", "registration_accounts", "term_checks"),
    ),
)

# Columns that were added to a view later. A new database gets them from the view itself. In older rows they
# are NULL until a rebuild, which is right: no guest was merged before this column was added.
VIEW_CHANGES: Sequence[Script] = (
    Script(
        "view_guest_directory_0002_merged_into",
        "ALTER TABLE guest_directory ADD COLUMN IF NOT EXISTS merged_into uuid",
    ),
    Script(
        "view_guest_history_0002_sealed",
        "ALTER TABLE guest_history ADD COLUMN IF NOT EXISTS sealed bytea",
    ),
)

OWN_TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("registrations", 'organisation COLLATE "C", person_ref COLLATE "C"'),
    TransferredTable("registration_accounts", 'organisation COLLATE "C", account_id COLLATE "C", guest_id'),
    TransferredTable("term_checks", "guest_id"),
)

SCHEMA: Sequence[Script] = (
    *event_log.SCHEMA,
    *messaging.SCHEMA,
    *idempotency.SCHEMA,
    *OWN_SCHEMA,
    *card_prefixes.SCHEMA,
    *nightly_checks.SCHEMA,
    *staff_sessions.SCHEMA,
    *lookups.SCHEMA,
    *projections.SCHEMA,
    *(view.schema() for view in VIEWS),
    *VIEW_CHANGES,
    vacuumed_views(VIEWS),
)

# An import fills the tables in this order. Not transferred are views, leases and sessions: each database has
# its own.
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    ERASURES,
    DATA_KEYS,
    *messaging.TRANSFERRED_TABLES,
    *idempotency.TRANSFERRED_TABLES,
    *OWN_TRANSFERRED_TABLES,
    *card_prefixes.TRANSFERRED_TABLES,
    *nightly_checks.TRANSFERRED_TABLES,
    *lookups.TRANSFERRED_TABLES,
)
