"""The tables of the messaging, in each service's own database.

`guest_id` is the subject of the messages. `held_guests` and `held_messages` are the parked subjects and
messages: these tables keep their names, so that two releases can run side by side.
"""

from collections.abc import Sequence

from shared.event_log import vacuum_soon
from shared.event_log.export.format import TransferredTable
from shared.platform.postgres import Script
from shared.platform.roles import Rights

SCHEMA: Sequence[Script] = [
    Script(
        "messaging-0001",
        """
        -- What was applied of each guest: a row for each version, inserted in the append of its effect.
        -- The key makes an effect happen once; event_id is null for a version that was skipped unseen.
        CREATE TABLE inbox (
            guest_id uuid NOT NULL,
            stream_version bigint NOT NULL,
            event_id uuid,
            discarded boolean NOT NULL DEFAULT false,
            PRIMARY KEY (guest_id, stream_version)
        );

        -- Guests whose next message cannot be applied: waiting (tried by itself) or parked (for an operator).
        CREATE TABLE held_guests (
            guest_id uuid PRIMARY KEY,
            state text NOT NULL CHECK (state IN ('waiting', 'parked', 'diverged')),
            reason text NOT NULL,
            in_the_way uuid, -- the event that could not be applied; null when what is missing is unknown
            since timestamptz NOT NULL DEFAULT clock_timestamp(),
            attempts integer NOT NULL DEFAULT 1,
            next_try timestamptz NOT NULL
        );

        -- Their messages. The foreign key guards against a lost one: nothing can be added behind a guest who
        -- was unparked, and no guest can be unparked while a message is left.
        CREATE TABLE held_messages (
            guest_id uuid NOT NULL REFERENCES held_guests,
            stream_version bigint NOT NULL,
            event_id uuid NOT NULL,
            message jsonb NOT NULL,
            held_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (guest_id, stream_version, event_id)
        );

        -- Messages that an operator skipped, with name and reason.
        CREATE TABLE discarded_messages (
            guest_id uuid NOT NULL,
            stream_version bigint NOT NULL,
            event_id uuid NOT NULL,
            message jsonb NOT NULL,
            reason text NOT NULL,
            discarded_by text NOT NULL,
            discarded_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );

        -- Received bodies that are not messages, so they belong to no guest; stored for an operator.
        CREATE TABLE unreadable_messages (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            body bytea NOT NULL,
            reason text NOT NULL,
            received_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );

        -- Who leads a task, until when; the epoch rises with each new leader.
        CREATE TABLE leases (
            name text PRIMARY KEY,
            holder text NOT NULL,
            epoch bigint NOT NULL,
            expires_at timestamptz NOT NULL
        );

        -- How far a task has come in a log.
        CREATE TABLE checkpoints (
            name text PRIMARY KEY,
            position bigint NOT NULL,
            epoch bigint NOT NULL
        );
        """,
        {
            "inbox": Rights("SELECT, INSERT"),
            "held_guests": Rights("SELECT, INSERT, UPDATE, DELETE"),
            "held_messages": Rights("SELECT, INSERT, DELETE"),
            "discarded_messages": Rights("SELECT, INSERT"),
            "unreadable_messages": Rights("SELECT, INSERT"),
            "leases": Rights("SELECT, INSERT, UPDATE"),
            "checkpoints": Rights("SELECT, INSERT, UPDATE"),
        },
    ),
    Script(
        "messaging-0002",
        """
        -- The other service's log, as its first authentic message named it. Other logs are refused.
        CREATE TABLE message_sources (
            service text PRIMARY KEY,
            source text NOT NULL,
            accepted_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        """,
        {"message_sources": Rights("SELECT, INSERT")},
    ),
    Script(
        "messaging-0003",
        """
        -- Messages name accounts and persons by pseudonyms, so an erasure deletes those that are kept (R19).
        -- A parked one is lost without harm: it has no effect any more, and the feed still has it.
        CREATE FUNCTION forget_parked() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM held_messages WHERE guest_id = NEW.subject_id;
            DELETE FROM held_guests WHERE guest_id = NEW.subject_id;
            RETURN NULL;
        END $$;
        CREATE TRIGGER erase_parked AFTER INSERT ON erasures FOR EACH ROW EXECUTE FUNCTION forget_parked();
        CREATE INDEX discarded_messages_guest_id_idx ON discarded_messages (guest_id);
        SELECT rows_die_with_subject('discarded_messages', 'guest_id');
        """,
    ),
    Script("messaging-0004", vacuum_soon("held_messages", "discarded_messages")),
    Script(
        "messaging-0005",
        """
        -- What a worker finds wrong at the broker: "blocked", "publishing", "consuming", a queue or exchange.
        -- It stores each fault again every second; a row that was not seen for some seconds says nothing.
        CREATE TABLE broker_faults (
            worker text NOT NULL,
            name text NOT NULL,
            reason text NOT NULL,
            since timestamptz NOT NULL,
            seen_at timestamptz NOT NULL,
            PRIMARY KEY (worker, name)
        );
        """,
        {"broker_faults": Rights("SELECT, INSERT, UPDATE, DELETE")},
    ),
    Script(
        "messaging-0006",
        """
        -- What the applied message said, as 16 bytes of a hash; null in rows of before. After a restore the
        -- other service says the same again, in events with other ids. That is no other history.
        ALTER TABLE inbox ADD COLUMN content bytea;

        -- A hash of a known account id can be guessed, so an erasure deletes it as well (R19). The service
        -- cannot change the inbox itself, so the function of the owner does it (ADR 0021).
        CREATE FUNCTION forget_content() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path = public, pg_temp AS $$
        BEGIN
            UPDATE inbox SET content = NULL WHERE guest_id = NEW.subject_id;
            RETURN NULL;
        END $$;
        REVOKE EXECUTE ON FUNCTION forget_content() FROM PUBLIC;
        CREATE TRIGGER erase_content AFTER INSERT ON erasures FOR EACH ROW EXECUTE FUNCTION forget_content();
        """,
    ),
]

# The checkpoints of relay and feed poller travel with the log, so nothing is published or read again. The
# epoch belongs to the leases, which do not travel: a higher epoch would keep every new leader from writing.
_CHECKPOINTS = (
    "SELECT name, position, 0 AS epoch FROM checkpoints"
    " WHERE name IN ('relay', 'sweep') OR name LIKE 'webhook:%'"
)

TRANSFERRED_TABLES: Sequence[TransferredTable] = (
    TransferredTable("message_sources", 'service COLLATE "C"'),
    TransferredTable("inbox", "guest_id, stream_version"),
    TransferredTable("held_guests", "guest_id"),
    TransferredTable("held_messages", "guest_id, stream_version, event_id"),
    TransferredTable("discarded_messages", "discarded_at, guest_id, stream_version, event_id"),
    TransferredTable("unreadable_messages", "id", numbered_by="id"),
    TransferredTable("checkpoints", 'name COLLATE "C"', rows=_CHECKPOINTS),
)
