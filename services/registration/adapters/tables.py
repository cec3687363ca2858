"""All tables of registration's database."""

from __future__ import annotations

from collections.abc import Sequence

from registration.adapters import card_prefixes, imported_guests, lookups, nightly_checks, staff_sessions
from registration.read_models import VIEWS
from shared import configuration, event_log, messaging, projections
from shared.event_log.export.format import DATA_KEYS, ERASURES, TransferredTable
from shared.messaging import webhook_state
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

# What follows a merger of libraries (I10). `known_as`: the ISIL bases for which the index has all references
# of the guest; in rows of an earlier release the one of its registration. `shared_references`: a reference
# that is another guest's already, because the person was registered at both libraries before they merged.
MERGED_LIBRARIES = """
ALTER TABLE registrations ADD COLUMN known_as text COLLATE "C" NOT NULL DEFAULT '';
CREATE FUNCTION pg_temp.home_of(state bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce(left(convert_from(state, 'UTF8')::jsonb ->> 'home_isil', 9), '');
EXCEPTION WHEN others THEN
    RETURN '';  -- an event that cannot be read holds up no upgrade
END $$;
UPDATE registrations SET known_as = pg_temp.home_of(last.state)
  FROM (SELECT DISTINCT ON (originator_id) originator_id AS guest_id, state
          FROM stored_events WHERE topic = 'registration.guest-registered'
         ORDER BY originator_id, originator_version DESC) AS last
 WHERE last.guest_id = registrations.guest_id;
CREATE INDEX registrations_known_as_idx ON registrations (known_as);

CREATE TABLE shared_references (
    organisation text NOT NULL,
    person_ref text NOT NULL,
    guest_id uuid NOT NULL,
    PRIMARY KEY (organisation, person_ref, guest_id)
);
CREATE INDEX shared_references_guest_id_idx ON shared_references (guest_id);
SELECT rows_die_with_subject('shared_references', 'guest_id');

CREATE TABLE followed_aliases (alias text PRIMARY KEY, isil text NOT NULL);
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
    Script(
        "registration_0005_merged_libraries",
        MERGED_LIBRARIES + event_log.vacuum_soon("shared_references"),
        {
            "registrations": Rights("SELECT, INSERT, UPDATE (known_as)"),
            "shared_references": Rights("SELECT, INSERT"),
            "followed_aliases": Rights("SELECT, INSERT, DELETE"),
        },
    ),
    Script(
        "registration_0015_references_of_a_person",
        "CREATE INDEX registrations_person_ref_idx ON registrations (person_ref)",
    ),
)

# Columns that were added to a view later. A new database gets them from the view itself. In older rows they
# are NULL until a rebuild. For `merged_into` that is right: no guest was merged before this column was added.
# Without `sealed_details` the nightly check reads the guest's stream.
VIEW_CHANGES: Sequence[Script] = (
    Script(
        "view_guest_directory_0002_merged_into",
        "ALTER TABLE guest_directory ADD COLUMN IF NOT EXISTS merged_into uuid",
    ),
    Script(
        "view_guest_history_0002_sealed",
        "ALTER TABLE guest_history ADD COLUMN IF NOT EXISTS sealed bytea",
    ),
    Script(
        "view_terms_due_0002_sealed_details",
        "ALTER TABLE terms_due ADD COLUMN IF NOT EXISTS sealed_details bytea",
    ),
    Script(
        "view_guest_words_0002_sorted_by",
        'ALTER TABLE guest_words ADD COLUMN IF NOT EXISTS sorted_by text COLLATE "C",'
        " ADD COLUMN IF NOT EXISTS merged_into uuid",
    ),
)

OWN_TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("registrations", 'organisation COLLATE "C", person_ref COLLATE "C"'),
    TransferredTable("shared_references", 'organisation COLLATE "C", person_ref COLLATE "C", guest_id'),
    TransferredTable("registration_accounts", 'organisation COLLATE "C", account_id COLLATE "C", guest_id'),
    TransferredTable("term_checks", "guest_id"),
)

SCHEMA: Sequence[Script] = (
    *event_log.SCHEMA,
    *messaging.SCHEMA,
    *configuration.SCHEMA,
    *webhook_state.SCHEMA,
    *idempotency.SCHEMA,
    *OWN_SCHEMA,
    *card_prefixes.SCHEMA,
    *nightly_checks.SCHEMA,
    *staff_sessions.SCHEMA,
    *lookups.SCHEMA,
    *imported_guests.SCHEMA,
    *projections.SCHEMA,
    *(view.schema() for view in VIEWS),
    *VIEW_CHANGES,
    vacuumed_views(VIEWS),
)

# An import fills the tables in this order. Not transferred are views, leases, sessions and the aliases that
# the index follows: each database has its own.
TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    ERASURES,
    DATA_KEYS,
    *messaging.TRANSFERRED_TABLES,
    *configuration.TRANSFERRED_TABLES,
    *webhook_state.TRANSFERRED_TABLES,
    *idempotency.TRANSFERRED_TABLES,
    *OWN_TRANSFERRED_TABLES,
    *card_prefixes.TRANSFERRED_TABLES,
    *nightly_checks.TRANSFERRED_TABLES,
    *lookups.TRANSFERRED_TABLES,
    *imported_guests.TRANSFERRED_TABLES,
)
