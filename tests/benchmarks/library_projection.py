"""The view `terms_due`, written with the `eventsourcing` library: one transaction for each event."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL, Identifier

from registration.domain import events
from shared.kernel.library_card import Isil
from tests.benchmarks.contestants import LibraryApplication

TABLE = """
CREATE TABLE IF NOT EXISTS {0} (
    stream_id uuid PRIMARY KEY, organisation text, home_isil text, status text, begins_on date, ends_on date,
    provisional boolean
)
"""
REGISTER = """
INSERT INTO {0} VALUES (%s, %s, %s, 'valid', %s, %s, true)
ON CONFLICT (stream_id) DO UPDATE
SET status = 'valid', begins_on = excluded.begins_on, ends_on = excluded.ends_on, provisional = true
"""
CONFIRM = "UPDATE {0} SET ends_on = %s, provisional = false WHERE stream_id = %s"
STATUS = "UPDATE {0} SET status = %s WHERE stream_id = %s"
RENEW = """
UPDATE {0} SET status = 'valid', begins_on = %s, ends_on = %s, provisional = true WHERE stream_id = %s
"""


class TermsDueTable(PostgresTrackingRecorder):
    """The table and the position of the projection."""

    def __init__(self, datastore: Any, **more: Any) -> None:
        super().__init__(datastore, **more)
        self._name = Identifier(self.tracking_table_name.removesuffix("_tracking"))
        self.sql_create_statements.append(SQL(TABLE).format(self._name))

    def write(self, tracking: Tracking, statement: str | None, values: tuple[Any, ...]) -> None:
        """Change a row and move the position, in one transaction."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            if statement is not None:
                cursor.execute(SQL(statement).format(self._name), values, prepare=True)


class TermsDue(Projection[TermsDueTable]):
    """The rules of the view's own fold, but expired and deregistered guests stay, with that status."""

    name = "termsdue"

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Write the change of one event."""
        self.view.write(tracking, *_change(domain_event))


STATUSES: dict[type, str] = {
    events.SubscriptionExpired: "expired",
    events.GuestDeregistered: "deregistered",
    events.GuestSuspended: "suspended",
    events.GuestReinstated: "valid",
}


def _change(event: Any) -> tuple[str | None, tuple[Any, ...]]:
    guest = event.originator_id
    if status := STATUSES.get(type(event)):
        return STATUS, (status, guest)
    match event:
        case events.GuestRegistered():
            isil = Isil(event.home_isil).base
            return REGISTER, (guest, event.organisation, isil, event.term_begin, event.term_end)
        case events.GuestReregistered():
            return RENEW, (event.term_begin, event.term_end, guest)
        case events.TermConfirmed():
            return CONFIRM, (event.end, guest)
        case _:
            return None, ()


class LibraryRunner:
    """Runs the library's projection of our log into its own table."""

    def __init__(self, url: str, table: str) -> None:
        address = urlsplit(url)
        self._environment = {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": address.path[1:],
            "POSTGRES_HOST": str(address.hostname),
            "POSTGRES_PORT": str(address.port),
            "POSTGRES_USER": str(address.username),
            "POSTGRES_PASSWORD": str(address.password),
        }
        self._projection = type(table, (TermsDue,), {"name": table})

    def __enter__(self) -> ProjectionRunner[LibraryApplication, TermsDueTable]:
        self._runner = ProjectionRunner(
            application_class=LibraryApplication,
            projection_class=self._projection,
            view_class=TermsDueTable,
            env=self._environment,
        )
        self._runner.__enter__()
        return self._runner

    def __exit__(self, *error: Any) -> None:
        self._runner.__exit__(*error)
