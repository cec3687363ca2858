"""Guests of a whole country: many home libraries, each guest's end known to the library that simulates it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from registration.domain.guest import Guest
from registration.domain.verdict import PatronDetails, Valid
from shared.event_log import DataKey
from tests.support.guest_lives import Lives
from tests.support.sip2_country import ends_on

LIBRARIES = 140
CONFIRMED_AFTER = timedelta(days=1)
SOMEBODY = PatronDetails("J. Jansen")


def isil_of(library: int) -> str:
    """The ISIL of a library by its number."""
    return f"NL-2{library:05d}"


class CountryLives(Lives):
    """Registered once, confirmed once, with the end that the simulated library still gives for most."""

    libraries = LIBRARIES

    def _home(self, number: int) -> str:
        return isil_of(number % self.libraries)

    def _live_on(self, guest: Guest, key: DataKey, now: datetime, number: int) -> None:
        now += CONFIRMED_AFTER
        answer = Valid(SOMEBODY, ends_on(number), "0")
        guest.check_term(answer, today=now.date(), now=now)


class FourLibraries(CountryLives):
    """The same in a country of four."""

    libraries = 4


def directory_of(ports: Sequence[int], answer_seconds: Sequence[float], connections: int = 4) -> str:
    """The TOML of libraries at these ports, by their numbers."""
    return "\n".join(
        f'[libraries.{isil_of(library)}]\nhost = "127.0.0.1"\nport = {port}\nexpiry_field = "PA"\n'
        f"connect_seconds = 1.0\nanswer_seconds = {seconds}\nconnections = {connections}\n"
        for library, (port, seconds) in enumerate(zip(ports, answer_seconds, strict=True))
    )


@asynccontextmanager
async def simulated(behaviours: Sequence[str]) -> AsyncIterator[list[int]]:
    """Libraries that behave so, in a process of their own; their ports, in that order."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.sip2_country", ",".join(behaviours)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout is not None
        yield [int(port) for port in (await process.stdout.readline()).split()]
    finally:
        process.terminate()
        await process.wait()
