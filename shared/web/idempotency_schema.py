"""The table of idempotency keys, beside the event log of a service."""

from collections.abc import Sequence

from shared.event_log.transfer.tables import TransferredTable

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
