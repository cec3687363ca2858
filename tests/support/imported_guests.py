"""Guests of before: files of them, and imports as a process or into a running registration (R29)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import asyncpg

from registration.adapters.imported_guests import PostgresImportedGuests, seen_on_disk
from registration.application.dependencies import Context
from registration.application.import_guests import Counts, Finding, ImportGuests, Line, import_guests
from registration.bootstrap import Service
from shared.event_log import Metadata
from tests.support.eventually import eventually
from tests.support.registration_service import HOME
from tests.support.servers import owner_url

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


LIBRARIES = "".join(
    f'[libraries.{isil}]\nhost = "127.0.0.1"\nport = 9\nexpiry_field = "PA"\n'
    for isil in ("NL-070288", "NL-083424")
)
HEADING = (Path(__file__).parents[2] / "docs" / "examples" / "guests.csv").read_text("utf-8").splitlines()[0]
COLUMNS = HEADING.split(",")
GOOD = {
    "card_number": "0990139305",
    "home_isil": "NL-070288",
    "name": "A. Voorbeeld",
    "branch": "9453",
    "subscription": "346",
    "registered_on": "2023-02-01",
    "valid_until": "2026-12-31",
    "card_has_chip": "yes",
    "strips_granted": "yes",
}


def line(**changes: str | None) -> str:
    """A line of CSV: a guest without mistakes, with these changes."""
    values = GOOD | changes
    quoted = ['"{}"'.format((values.get(column) or "").replace('"', '""')) for column in COLUMNS]
    return ",".join(quoted)


def many(count: int) -> list[str]:
    """Lines of as many guests, each with a login account."""
    return [
        line(key=f"K{number}", card_number=f"09{number:08d}", login_account_id=f"acc-{number}")
        for number in range(count)
    ]


def written(folder: Path, lines: Iterable[str], name: str = "guests.csv") -> Path:
    file = folder / name
    file.write_text("\n".join((HEADING, *lines)) + "\n", "utf-8")
    return file


def started(file: Path, *more: str) -> subprocess.Popen[bytes]:
    """An import as a process of its own, with these options more."""
    command = [str(Path(sys.executable).with_name("registration")), "guests", "import", str(file)]
    options = ("--organisation", "1001", "--source", "old-system", "--by", "beheer")
    return subprocess.Popen([*command, *options, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@asynccontextmanager
async def stopped_in_the_middle(database: str, file: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """An import of the file that has written its first guests, and holds the next ones back for a minute.

    Afterwards it is killed, nothing of the ones that were held back is there, and an import goes on again.
    """
    owner = await asyncpg.connect(owner_url(database))
    await owner.execute(HOLD_UP)
    process = started(file)

    async def are_written() -> bool:
        assert process.poll() is None, process.communicate()
        return bool(await owner.fetchval("SELECT count(*) > 0 FROM imported_guests"))

    try:
        await eventually(are_written, within=60, every=0.05)
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.communicate)
        await owner.execute(END_SLEEP)  # PostgreSQL would notice the death of its client a minute later
        await owner.execute("DROP TRIGGER hold_up ON imported_guests")
        await owner.close()


# What is written after the first guests is held up in the middle of its transaction. How many those are is
# open: appends that wait at the same moment are written as one.
HOLD_UP = """
CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM imported_guests) > (SELECT count(*) FROM just_written) THEN
        PERFORM pg_sleep(60);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hold_up AFTER INSERT ON imported_guests REFERENCING NEW TABLE AS just_written
FOR EACH STATEMENT EXECUTE FUNCTION hold_up();
"""
END_SLEEP = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event = 'PgSleep'
"""
