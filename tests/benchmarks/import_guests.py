"""Imports guests of before by the command, in a process of its own: rate and memory (ADR 0025).

The baseline of the rate is a COPY of the very rows that the import wrote, without anything that checks,
encrypts, or makes them. The baseline of the memory is the same command with a tenth of the guests.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import asyncpg

from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from registration.settings import Settings
from tests.benchmarks.results import Result
from tests.support.registration_service import settings_in
from tests.support.servers import Databases, owner_url
from tests.support.tokens import Signer

GUESTS = int(os.environ.get("BENCH_IMPORTED_GUESTS", "100000"))
TABLES = ("data_keys", "stored_events", "registrations", "registration_accounts", "imported_guests")
FLAT = 1.1
"""The peak of memory may be so many times the one of a tenth of the guests."""
LIBRARY = '[libraries.NL-070288]\nhost = "127.0.0.1"\nport = 9\nexpiry_field = "PA"\n'


async def measure(server: Postgres) -> Sequence[Result]:
    """Import a tenth of the guests, then all of them, then copy the rows of all of them."""
    databases = Databases(server)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        few = _import(Path(folder) / "few", databases("few", SCHEMA), GUESTS // 10)
        database = databases("bench", SCHEMA)
        all_of_them = _import(Path(folder) / "all", database, GUESTS)
    copied = await _copy(owner_url(database), owner_url(databases("copy", SCHEMA)))
    name = f"{GUESTS:,} guests of before"
    return [
        Result(
            f"import {name}, check included",
            "guests/s",
            GUESTS / all_of_them.seconds,
            GUESTS / copied,
            "COPY of the same rows",
            "higher",
        ),
        Result(
            f"peak of memory of an import of {name}",
            "MiB",
            all_of_them.peak_mib,
            few.peak_mib,
            "a tenth of the guests",
            "lower",
            FLAT,
        ),
    ]


class _Imported(NamedTuple):
    seconds: float
    peak_mib: float


def _import(folder: Path, database: str, guests: int) -> _Imported:
    """Run the command with a file of so many guests; each has a login account, every third two rows."""
    folder.mkdir()
    settings = settings_in(folder, database, Signer(folder / "jwks.json"))
    settings.home_libraries.write_text(LIBRARY, "utf-8")
    file = folder / "guests.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for number in range(guests):
            lines.write(json.dumps(_guest(number)) + "\n")
    command = [str(Path(sys.executable).with_name("registration")), "guests", "import", str(file)]
    options = ("--organisation", "1001", "--source", "bench", "--by", "bench", "--json")
    started = perf_counter()
    with subprocess.Popen(
        [*command, *options], env=_environment(settings), stdout=subprocess.PIPE
    ) as process:
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = perf_counter() - started
    if process.returncode or json.loads(output)["imported"] != guests:
        raise RuntimeError("the import failed, so it cannot be measured")
    return _Imported(seconds, usage.ru_maxrss / 1024)


def _guest(number: int) -> dict[str, object]:
    row = {"begin": "2025-03-01", "end": "2026-12-31", "status": "Normaal"}
    before = {"begin": "2024-03-01", "end": "2025-02-28", "status": "Normaal"}
    return {
        "key": f"G-{number}",
        "card_number": f"09{number:08d}",
        "home_isil": "NL-070288",
        "name": f"Gast, A. {number}",
        "birth_date": f"19{number % 90 + 10}-0{number % 9 + 1}-1{number % 10}",
        "address": f"Brink {number}, 9301 JK Roden",
        "email": f"gast{number}@example.org",
        "branch": "9453",
        "subscription": "346",
        "registered_on": "2024-03-01",
        "valid_until": "2026-12-31",
        "contributions": [row, before] if number % 3 == 0 else [],
        "card_has_chip": True,
        "strips_granted": True,
        "login_account_id": f"acc-{number}",
    }


def _environment(settings: Settings) -> dict[str, str]:
    values = {
        f"{settings.prefix()}{name.upper()}": value.get_secret_value()
        if hasattr(value, "get_secret_value")
        else str(value)
        for name, value in settings.model_dump().items()
        if value is not None
    }
    return {name: value for name, value in os.environ.items() if name != "RUN_DIR"} | values


async def _copy(source: str, target: str) -> float:
    """Copy the rows into a database with the same tables and indexes; return the seconds of writing."""
    reading, writing = await asyncpg.connect(source), await asyncpg.connect(target)
    try:
        seconds = 0.0
        for table in TABLES:
            found = await reading.fetch(f"SELECT * FROM {table}")  # noqa: S608 - a constant
            rows = [tuple(row) for row in found]
            started = perf_counter()
            await writing.copy_records_to_table(table, records=rows, columns=list(found[0].keys()))
            seconds += perf_counter() - started
        return seconds
    finally:
        await asyncio.gather(reading.close(), writing.close())
