"""The table of erasures: its row destroys, in the same transaction, all that is held of a subject (R19)."""

from __future__ import annotations

from collections.abc import Sequence

# The row of an erasure is a side row like any other, so the event and the destruction commit together. What
# is destroyed each table says for itself: `SELECT rows_die_with_subject('term_checks', 'guest_id')`.
#
# Afterwards no row of the subject comes back: who decided before the erasure and writes after it, or brings
# an old export, comes too late. Not all rows are written under the log's lock: the lock on the table makes
# the erasure wait for those on their way, and makes those that come after it see it.
ERASURES = """
CREATE TABLE erasures (
    subject_id uuid PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION delete_rows_of_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', TG_ARGV[0]);
    EXECUTE format('DELETE FROM %I WHERE %I = $1', TG_ARGV[0], TG_ARGV[1]) USING NEW.subject_id;
    RETURN NULL;
END $$;

-- Volatile, so that it sees what was committed while its statement waited.
CREATE FUNCTION is_erased(subject uuid) RETURNS boolean VOLATILE LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (SELECT FROM erasures WHERE subject_id = subject);
END $$;

CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END $$;

CREATE FUNCTION rows_die_with_subject(held_in text, subject_column text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER %I AFTER INSERT ON erasures FOR EACH ROW '
        'EXECUTE FUNCTION delete_rows_of_erased(%L, %L)',
        'erase_' || held_in, held_in, subject_column
    );
    EXECUTE format(
        'CREATE TRIGGER skip_erased BEFORE INSERT ON %I FOR EACH ROW '
        'WHEN (is_erased(NEW.%I)) EXECUTE FUNCTION drop_row()',
        held_in, subject_column
    );
END $$;

SELECT rows_die_with_subject('data_keys', 'subject_id');
"""

SCHEMA: Sequence[tuple[str, str]] = (("event_log_0003_erasures", ERASURES),)
