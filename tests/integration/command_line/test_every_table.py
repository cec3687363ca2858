"""Every table of a service goes along with its log, or stays for a reason that is written down here."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from identity.adapters.tables import TRANSFERRED_TABLES as OF_IDENTITY
from identity.read_models import VIEWS as IDENTITY_VIEWS
from registration.adapters.tables import TRANSFERRED_TABLES as OF_REGISTRATION
from registration.read_models import VIEWS as REGISTRATION_VIEWS
from tests.support.installation import Installation

TRANSFERRED = {"registration": OF_REGISTRATION, "identity": OF_IDENTITY}
STAYS = {
    "stored_events": "is the log itself",
    "event_log_identity": "is in the header",
    "schema_migrations": "is of the database, not of the log",
    "leases": "are of the processes that run here",
    "broker_faults": "are what the workers of this installation find now",
    "configuration_processes": "are the processes that run here",
    "projections": "says how far the views are, which are built from the log",
}
STAYS_AT: dict[str, dict[str, str]] = {
    "registration": {
        "staff_sessions": "are of the people who are signed in here",
        "form_drafts": "are of the people who are signed in here",
        "staff_names": "are of the people who sign in here, from their last sign-in",
        "logout_tokens": "are messages of the sign-in service to this installation",
        "staff_hints": "are of the people who sign in here",
        "followed_aliases": "say which file of this installation the registration index follows",
    },
    "identity": {},
}
VIEWS = {table.name for view in (*REGISTRATION_VIEWS, *IDENTITY_VIEWS) for table in view.tables}
"""Follow from the log, wherever it is."""


async def _tables_of(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()


def test_every_table_travels_or_stays_for_a_reason(installed: Installation) -> None:
    tables = asyncio.run(_tables_of(installed.settings.database_url.get_secret_value()))
    travelling = [table.name for table in TRANSFERRED[installed.name]]
    assert len(set(travelling)) == len(travelling)
    assert {*travelling, *STAYS, *STAYS_AT[installed.name]} == tables - VIEWS


@pytest.mark.parametrize("service", TRANSFERRED)
def test_who_is_referred_to_goes_first(service: str) -> None:
    travelling = [table.name for table in TRANSFERRED[service]]
    assert travelling.index("held_guests") < travelling.index("held_messages")
