"""Imports guests of before into a running registration."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from registration.adapters.imported_guests import PostgresImportedGuests, seen_on_disk
from registration.application.dependencies import Context
from registration.application.import_guests import Counts, Finding, ImportGuests, Line, import_guests
from registration.bootstrap import Service
from shared.event_log import Metadata
from tests.support.registration_service import HOME

ROW = {
    "home_isil": HOME,
    "name": "J. Jansen",
    "branch": "9453",
    "subscription": "346",
    "registered_on": "2023-02-01",
    "valid_until": "2026-12-31",
    "card_has_chip": True,
    "strips_granted": True,
}


async def imported(service: Service, *rows: dict[str, object]) -> Counts:
    """Import guests of 1001 with these fields; nothing may be told of them."""
    deps = replace(service.deps, home_library_names={HOME: ""})
    lines = [Line(number, {**ROW, **row}) for number, row in enumerate(rows, start=1)]
    context = Context("1001", Metadata("beheer", uuid4()))
    findings: list[Finding] = []
    with seen_on_disk() as seen:
        known = PostgresImportedGuests(service.pool)
        command = ImportGuests("old-system", lines, write=True)
        counts = await import_guests(command, context, known, seen, deps, report=findings.append)
    assert findings == []
    return counts
