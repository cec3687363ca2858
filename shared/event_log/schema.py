"""The tables of an event log and the function that appends to it (ADR 0001, ADR 0012)."""

from __future__ import annotations

from collections.abc import Sequence

from shared.event_log import erasures
from shared.platform.postgres import Script
from shared.platform.roles import Rights

# Columns that the `eventsourcing` library knows have its names and types, so its tools can read this log.
TABLES = """
CREATE TABLE stored_events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    notification_id bigint NOT NULL,
    event_id uuid NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid,
    recorded_at timestamptz NOT NULL,
    topic text NOT NULL,
    caused_by text NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
);
CREATE UNIQUE INDEX stored_events_notification_id_idx ON stored_events (notification_id);

CREATE TABLE event_log_identity (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    log_id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO event_log_identity DEFAULT VALUES;

CREATE TABLE data_keys (
    subject_id uuid PRIMARY KEY,
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
"""

# Everything from the lock to the commit happens in this one call, so a slow or stopped client never holds the
# lock. Under the lock the maximum cannot change, so positions have no gaps. Commits happen in the order of
# positions, so a reader that saw position N has seen everything before it.
APPEND = """
CREATE FUNCTION append_events(
    originator_ids uuid[], originator_versions bigint[], topics text[], states bytea[], event_ids uuid[],
    caused_bys text[], correlation_ids uuid[], causation_ids uuid[],
    continued_ids uuid[], continued_versions bigint[], side_rows jsonb
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    base bigint;
    total bigint := cardinality(originator_ids);
    side jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('event log'), 1);
    SELECT coalesce(max(notification_id), 0) INTO base FROM stored_events;

    -- The primary key refuses a version that exists; this refuses a version whose predecessor is missing.
    -- Only the first event of a stream has none: version 1, or version 0 when version 1 does not exist.
    -- (Two IFs: a condition with a query costs a tenth of an append, even when the query is not run.)
    IF cardinality(continued_ids) > 0 THEN
        IF EXISTS (
            SELECT FROM unnest(continued_ids, continued_versions) AS continued (id, version)
            WHERE (continued.version = 0) = EXISTS (
                SELECT FROM stored_events
                WHERE originator_id = continued.id
                AND originator_version = CASE continued.version WHEN 0 THEN 1 ELSE continued.version - 1 END
            )
        ) THEN
            RAISE unique_violation USING
                MESSAGE = 'an event does not follow the last one of its stream',
                CONSTRAINT = 'stored_events_gap';
        END IF;
    END IF;

    IF total = 1 THEN  -- a tenth of an append cheaper than the general statement
        INSERT INTO stored_events (
            notification_id, recorded_at, originator_id, originator_version, topic, state, event_id,
            caused_by, correlation_id, causation_id
        ) VALUES (
            base + 1, clock_timestamp(), originator_ids[1], originator_versions[1], topics[1], states[1],
            event_ids[1], caused_bys[1], correlation_ids[1], causation_ids[1]
        );
    ELSE
        INSERT INTO stored_events (
            notification_id, recorded_at, originator_id, originator_version, topic, state, event_id,
            caused_by, correlation_id, causation_id
        )
        SELECT base + place, clock_timestamp(), originator_id, originator_version, topic, state, event_id,
            caused_by, correlation_id, causation_id
        FROM unnest(
            originator_ids, originator_versions, topics, states, event_ids,
            caused_bys, correlation_ids, causation_ids
        ) WITH ORDINALITY AS new (
            originator_id, originator_version, topic, state, event_id,
            caused_by, correlation_id, causation_id, place
        );
    END IF;

    IF side_rows IS NOT NULL THEN
        FOR side IN SELECT * FROM jsonb_array_elements(side_rows) LOOP
            PERFORM append_side_rows(side);
        END LOOP;
    END IF;

    IF total > 0 THEN
        PERFORM pg_notify('event_log', (base + total)::text);
    END IF;
    RETURN base + total;
END $$;

CREATE FUNCTION append_side_rows(side jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    -- Only the columns that were given, so that the others get their defaults instead of null.
    named text := (
        SELECT string_agg(quote_ident(name), ', ') FROM jsonb_array_elements_text(side -> 'columns') AS name
    );
BEGIN
    EXECUTE format(
        'INSERT INTO %1$I (%2$s) SELECT %2$s FROM jsonb_populate_recordset(null::%1$I, $1)%3$s',
        side ->> 'table', named,
        CASE WHEN (side ->> 'or_ignore')::boolean THEN ' ON CONFLICT DO NOTHING' ELSE '' END
    ) USING side -> 'rows';
END $$;
"""

# The log is only appended to. Keys are wrapped again by the owner (`keys rewrap`), and deleted by an erasure.
SCHEMA: Sequence[Script] = (
    Script(
        "event_log_0001_tables",
        TABLES,
        {
            "stored_events": Rights("SELECT, INSERT"),
            "event_log_identity": Rights("SELECT"),
            "data_keys": Rights("SELECT, INSERT", reader=False),
        },
    ),
    Script("event_log_0002_append", APPEND),
    *erasures.SCHEMA,
)
