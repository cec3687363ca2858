"""The nightly check of a whole country: 140 home libraries, some ill, every guest checked (R12, ADR 0011).

By itself with a few thousand guests; `make night` has a tenth of a country's, `NIGHT_GUESTS=1000000` all.
Real sockets and the real command, in processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.local.ports import free_port
from registration.adapters.tables import SCHEMA
from registration.read_models.terms_due import VIEW
from registration.settings import Settings
from shared.event_log import MasterKeys
from shared.projections.rebuild import Source, rebuild
from tests.support.eventually import eventually
from tests.support.home_libraries import LIBRARIES, directory_of, isil_of, simulated
from tests.support.installation import put_into_environment
from tests.support.projections import CountryLives, FourLibraries, fill_log
from tests.support.registration_service import settings_in
from tests.support.servers import as_owner, migrated
from tests.support.tokens import Signer

GUESTS = int(os.environ.get("NIGHT_GUESTS", "2500"))
DOWN, SILENT, GARBAGE, CLOSING = 20, 5, 5, 1
ILL = DOWN + SILENT + GARBAGE
WELL = LIBRARIES - ILL - CLOSING
BEHAVIOURS = ["silent"] * SILENT + ["garbage"] * GARBAGE + ["closing"] * CLOSING + ["answers"] * WELL
"""Of those that listen; before them come the ones that are down."""
MOST_GROWTH = 1.3
KILLS, KILLED_GUESTS = 5, 2400
COMMAND = "import resource, sys; from registration.cli.main import app; "
COMMAND += "from shared.cli.running import exit_code; "
COMMAND += "code = exit_code(app, 'registration', ['nightly', '--by', 'operator', '--json']); "
COMMAND += "sys.stderr.write(f'peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}'); sys.exit(code)"


@pytest.fixture
async def settings(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An installation whose log is still empty."""
    made = settings_in(tmp_path, database, Signer(tmp_path / "jwks.json"))
    put_into_environment(made, monkeypatch)
    monkeypatch.setenv("REGISTRATION_LOG_LEVEL", "ERROR")
    await migrated(database, SCHEMA)
    return made


async def populate(
    settings: Settings, guests: int, first: int = 0, lives: type[CountryLives] = CountryLives
) -> None:
    """Add so many guests to the log, and list them all as due."""
    keys = MasterKeys.from_file(settings.master_key_file)
    url = settings.database_url.get_secret_value()
    await fill_log(url, guests, keys, first, lives)
    await rebuild(Source(url, keys), VIEW, lambda _: None)
    await ask(settings, "ANALYZE")


@asynccontextmanager
async def country(
    settings: Settings, behaviours: Sequence[str], down: int = 0, connections: int = 4
) -> AsyncIterator[None]:
    """Libraries behave so; before them come so many that are down."""
    async with simulated(behaviours) as ports:
        all_ports = [*(free_port() for _ in range(down)), *ports]
        directory = directory_of(all_ports, [1.0] * len(all_ports), connections)
        settings.home_libraries.write_text(directory, "utf-8")
        yield


class NightlyCheck:
    """The command, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ends(self) -> tuple[int, dict[str, Any], int]:
        """Its exit code, its report, and the most memory it took, in KiB."""
        out, err = await self.process.communicate()
        assert out, err.decode()
        assert self.process.returncode is not None
        return self.process.returncode, json.loads(out), int(err.rpartition(b"peak ")[2])


async def begin_night() -> NightlyCheck:
    pipe = asyncio.subprocess.PIPE
    return NightlyCheck(
        await asyncio.create_subprocess_exec(sys.executable, "-c", COMMAND, stdout=pipe, stderr=pipe)
    )


async def ask(settings: Settings, sql: str) -> Any:
    """One value, asked from outside."""
    async with as_owner(settings.database_url.get_secret_value()) as connection:
        return await connection.fetchval(sql)


EVENTS = "SELECT count(*) FROM stored_events"
DUE = """
SELECT json_object_agg(home_isil, guests)
FROM (SELECT home_isil, count(*) AS guests FROM terms_due GROUP BY home_isil) AS each
"""
YESTERDAY = """
WITH forgotten AS (DELETE FROM night_libraries)
UPDATE term_checks SET night = NULL, checked_at = checked_at - interval '2 days'
"""
ANSWERED = "SELECT count(*) FROM term_checks WHERE night IS NOT NULL AND verdict <> 'unavailable'"
TWICE = """
SELECT count(*) FROM (
    SELECT originator_id FROM stored_events WHERE caused_by = 'operator'
    GROUP BY originator_id, topic HAVING count(*) > 1
) AS twice
"""
ILL_ISILS = {isil_of(library) for library in range(ILL)}
OF_ILL = f"""
SELECT count(*) FROM stored_events JOIN terms_due ON stream_id = originator_id
WHERE caused_by = 'operator' AND home_isil IN ({", ".join(f"'{isil}'" for isil in sorted(ILL_ISILS))})
"""  # noqa: S608 - our own names


@pytest.mark.timeout(7200)
async def test_r12_a_country_is_asked_in_one_night_whichever_library_is_ill(settings: Settings) -> None:
    """Memory: a tenth of the guests first, then all of them."""
    await populate(settings, GUESTS // 10)
    async with country(settings, BEHAVIOURS, DOWN):
        _, _, small = await (await begin_night()).ends()
        await ask(settings, YESTERDAY)
        await populate(settings, GUESTS - GUESTS // 10, GUESTS // 10)
        due = json.loads(await ask(settings, DUE))
        began = time.monotonic()
        code, report, large = await (await begin_night()).ends()
        seconds = time.monotonic() - began

        assert code == 1, "a guest could not be checked"
        libraries = {each["home_isil"]: each for each in report["libraries"]}
        ill = [libraries.pop(isil) for isil in sorted(ILL_ISILS)]
        assert all(each["left"] == due[each["home_isil"]] and each["problem"] for each in ill)
        assert {isil: each["asked"] for isil, each in libraries.items()} == {
            isil: due[isil] for isil in due if isil not in ILL_ISILS
        }
        left = sum(each["left"] for each in (*ill, *libraries.values()))
        assert all(not each["left"] for isil, each in libraries.items() if isil != isil_of(ILL))
        assert await ask(settings, ANSWERED) == sum(due.values()) - left
        assert await ask(settings, OF_ILL) == 0, "a guest was changed without a reply"
        assert await ask(settings, TWICE) == 0

        events = await ask(settings, EVENTS)
        _, again, _ = await (await begin_night()).ends()
        assert await ask(settings, EVENTS) - events <= libraries[isil_of(ILL)]["left"]
        before = {each["home_isil"]: each["asked"] for each in report["libraries"]}
        after = {each["home_isil"]: each["asked"] for each in again["libraries"]}
        assert {isil: after[isil] for isil in libraries} == {isil: before[isil] for isil in libraries}
    rate = sum(each["asked"] for each in libraries.values()) / seconds
    sys.stdout.write(
        f"{sum(due.values()):,} guests due, {left:,} left, {seconds:.1f} s, {rate:,.0f} guests/s;"
        f" peak {small // 1024} MiB for a tenth, {large // 1024} MiB for all\n"
    )
    assert large <= MOST_GROWTH * small


@pytest.mark.timeout(120)
async def test_r12_a_night_killed_five_times_asks_everybody_and_writes_nothing_twice(
    settings: Settings,
) -> None:
    await populate(settings, KILLED_GUESTS, lives=FourLibraries)
    due = await ask(settings, "SELECT count(*) FROM terms_due")
    async with country(settings, ["brisk"] * FourLibraries.libraries, connections=1):
        reached = 0
        for _ in range(KILLS):
            nightly = await begin_night()
            reached = await eventually(partial(_further, settings, reached), within=30)
            nightly.process.send_signal(signal.SIGKILL)
            await nightly.process.wait()
        assert reached < due, "the kills came too late"
        code, report, _ = await (await begin_night()).ends()
    assert (code, report["complete"]) == (0, True)
    assert await ask(settings, ANSWERED) == due
    assert sum(each["asked"] for each in report["libraries"]) == due
    assert await ask(settings, TWICE) == 0


async def _further(settings: Settings, before: int) -> int:
    """How many are answered for; that must be more than before."""
    answered: int = await ask(settings, ANSWERED)
    assert answered > before
    return answered
