"""Guests per second of the nightly check, beside programs that only ask the home libraries (R12, ADR 0011).

The nightly check reads the guests, decrypts their card numbers, asks, decides and stores the result. The
other programs ask and read the reply. All ask the same simulated home libraries, which run in their own
process, over the same number of connections: once with a reply after 5 ms, once with a reply at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from time import perf_counter
from uuid import uuid4

import structlog

from infra.local.postgres import Postgres
from registration.adapters.home_library.client import home_libraries
from registration.adapters.home_library.settings import read_directory
from registration.adapters.in_memory import SetClock
from registration.adapters.nightly_checks import PostgresNightlyChecks
from registration.adapters.registration_index import PostgresRegistrations, PostgresTermChecks
from registration.adapters.tables import SCHEMA
from registration.application.dependencies import Dependencies
from registration.application.nightly_check import check_all_terms
from registration.application.nightly_report import NightlyReport
from registration.bootstrap import home_library_http
from registration.domain.term_check import NightlyCheck
from registration.read_models.terms_due import VIEW
from shared.event_log import Metadata, PostgresDataKeys, PostgresEventLog
from shared.platform.postgres import open_pool
from shared.projections.rebuild import Source, rebuild
from tests.benchmarks.guests import MASTER_KEYS
from tests.benchmarks.results import Result
from tests.benchmarks.sip2_contestants import ask_barely, ask_blocking
from tests.support.home_libraries import directory_of, simulated
from tests.support.projections import PERSON_REF_KEY, FourLibraries, fill_log
from tests.support.registration import registration_over
from tests.support.servers import Databases

GUESTS = 6000
LIBRARIES = FourLibraries.libraries
CONNECTIONS = 4
ROUNDS = 3
BLOCKING_GUESTS = 600
FIRST_NIGHT = date(2060, 1, 1)
METADATA = Metadata("benchmark", uuid4())
OF_BARE_LOOP = 0.6
TIMES_BLOCKING = 8.0
LIBRARY_KINDS = {"brisk": "answered in 5 ms", "answers": "answered at once"}
"""Targets are for the first kind, which has a network's delay. The second shows the cost of our own code."""


async def measure(server: Postgres) -> Sequence[Result]:
    """Run the contestants in turns, three rounds for each kind of library."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    url = Databases(server)("bench", SCHEMA)
    await fill_log(url, GUESTS, MASTER_KEYS, lives=FourLibraries)
    await rebuild(Source(url, MASTER_KEYS), VIEW, lambda _: None)
    results: list[Result] = []
    nightly = NightlyCheck(FIRST_NIGHT)
    for kind, name in LIBRARY_KINDS.items():
        async with AsyncExitStack() as opened:
            ports = await opened.enter_async_context(simulated([kind] * LIBRARIES))
            ours = await _ours(url, ports, opened)
            await ours.run(nightly)  # the first check changes guests, the others are like most nights
            await rebuild(Source(url, MASTER_KEYS), VIEW, lambda _: None)
            rates: dict[str, list[float]] = {"ours": [], "bare": [], "blocking": []}
            for _ in range(ROUNDS):
                nightly = NightlyCheck(nightly.day + timedelta(days=1))
                rates["ours"].append(await ours.run(nightly))
                rates["bare"].append(await ask_barely(ports, CONNECTIONS, _cards(GUESTS)))
                blocking = asyncio.to_thread(ask_blocking, ports, _cards(BLOCKING_GUESTS))
                rates["blocking"].append(await blocking)
        nightly = NightlyCheck(nightly.day + timedelta(days=1))
        medians = {contestant: median(values) for contestant, values in rates.items()}
        results += _results(name, medians, with_targets=kind == "brisk")
    return results


def _results(name: str, rates: dict[str, float], *, with_targets: bool) -> list[Result]:
    targets = (OF_BARE_LOOP, TIMES_BLOCKING) if with_targets else (None, None)
    baselines = (("bare", "bare asyncio SIP2"), ("blocking", "Sip2, blocking"))
    return [
        Result(f"term checks, {name}", "guests/s", rates["ours"], rates[contestant], label, "higher", target)
        for (contestant, label), target in zip(baselines, targets, strict=True)
    ]


def _cards(guests: int) -> list[list[str]]:
    return [[f"09{number:08d}" for number in range(first, guests, LIBRARIES)] for first in range(LIBRARIES)]


class _Ours:
    """The nightly check, over real connections to the database and the home libraries."""

    def __init__(self, nightly_checks: PostgresNightlyChecks, deps: Dependencies, clock: SetClock) -> None:
        self._nightly_checks, self._deps, self._clock = nightly_checks, deps, clock

    async def run(self, nightly: NightlyCheck) -> float:
        """Run one nightly check. Return guests/s."""
        self._clock.moment = datetime.combine(nightly.day, time(2, 30), UTC)
        due = sum((await self._nightly_checks.due(nightly)).values())
        began = perf_counter()
        await check_all_terms(nightly, METADATA, self._nightly_checks, self._deps)
        seconds = perf_counter() - began
        report = await self._nightly_checks.last()
        if report is None or not report.is_complete or _asked(report) != due:
            raise AssertionError("the nightly check did not ask about all guests that were due")
        return due / seconds


def _asked(report: NightlyReport) -> int:
    return sum(library.tally.asked for library in report.libraries)


async def _ours(url: str, ports: Sequence[int], opened: AsyncExitStack) -> _Ours:
    directory = read_directory(directory_of(ports, [5.0] * LIBRARIES, CONNECTIONS), {})
    libraries = home_libraries(directory, home_library_http)
    opened.push_async_callback(libraries.close)
    pool = await opened.enter_async_context(await open_pool(url, min_size=4, max_size=16))
    log = await opened.enter_async_context(PostgresEventLog(pool))
    keys = PostgresDataKeys(pool, MASTER_KEYS)
    registration_use_cases = registration_over(
        log, keys, PostgresRegistrations(pool), PostgresTermChecks(pool)
    )
    deps = replace(
        registration_use_cases.deps, home_libraries=libraries, isil_aliases={}, person_ref_key=PERSON_REF_KEY
    )
    return _Ours(PostgresNightlyChecks(pool), deps, registration_use_cases.clock)
