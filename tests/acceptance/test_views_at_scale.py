"""Rebuilding every view of a large log while clerks search: no search fails (ADR 0009).

By itself with a few thousand guests; `SCALE_GUESTS=200000` makes it a country's, with about a million events.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from statistics import quantiles

import pytest

from registration.adapters.tables import SCHEMA
from registration.read_models import VIEWS
from registration.read_models.guest_directory import GuestDirectory, Search, asked_for
from shared.event_log import MasterKeys, PostgresEventLog
from shared.platform.postgres import open_pool
from shared.projections import LiveView
from shared.projections.rebuild import Source, rebuild
from shared.projections.verify import verify
from tests.support.projections import fill_log
from tests.support.servers import migrated

GUESTS = int(os.environ.get("SCALE_GUESTS", "2500"))
READS_EACH_SECOND = 50
MASTER_KEYS = MasterKeys([b"m" * 32])
MOST_WAITED = 0.2  # seconds, for the switch
WORDS = ("jansen", "vis", "0900000", "brule anna", "196", "")


@pytest.fixture
async def directory(database: str) -> AsyncIterator[GuestDirectory]:
    """A directory that the live view has filled."""
    await migrated(database, SCHEMA)
    position = await fill_log(database, GUESTS, MASTER_KEYS)
    source = Source(database, MASTER_KEYS)
    async with await open_pool(database, min_size=3, max_size=16) as pool, PostgresEventLog(pool) as log:
        for view in VIEWS:
            live = LiveView(pool, log, source, view)
            while await live.step() < position:
                pass
        yield GuestDirectory(pool)


class Readers:
    """Fifty searches a second, whatever the last ones take; each must find what the first one found."""

    def __init__(self, directory: GuestDirectory) -> None:
        self._directory = directory
        self._expected: dict[str, list[str]] = {}
        self._asked: set[asyncio.Task[None]] = set()
        self.seconds: list[float] = []

    async def run(self) -> None:
        for word in WORDS:
            self._expected[word] = await self._find(word)
            assert self._expected[word], f"{word} must find a guest"
        for turn in range(10**9):
            task = asyncio.create_task(self._read(WORDS[turn % len(WORDS)]))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
            task.add_done_callback(lambda done: done.result())
            await asyncio.sleep(1 / READS_EACH_SECOND)

    async def _read(self, word: str) -> None:
        began = time.perf_counter()
        found = await self._find(word)
        self.seconds.append(time.perf_counter() - began)
        assert found == self._expected[word], f"{word}: empty, or of two views"

    async def _find(self, word: str) -> list[str]:
        found = await self._directory.find(Search("1001", asked_for(word), limit=20))
        return [str(guest.guest_id) for guest in found]


@pytest.mark.timeout(3600)
async def test_every_view_is_rebuilt_while_people_search(
    directory: GuestDirectory, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild shares the log out to processes, however small it is."""
    source, readers = Source(database, MASTER_KEYS), Readers(directory)
    for view in VIEWS:
        assert (await verify(source, view, lambda _: None)).differences == ()
    reading = asyncio.create_task(readers.run())
    figures = []
    for view in VIEWS:
        with monkeypatch.context() as shared_out:
            shared_out.setattr("shared.projections.rebuild.SMALL_LOG", 0)
            done = await rebuild(source, view, lambda _: None)
        assert done.readers_waited < MOST_WAITED
        figures.append(
            f"{view.name} {done.events / done.seconds:,.0f} events/s, {done.readers_waited * 1000:.0f} ms"
        )
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    for view in VIEWS:
        found = await verify(source, view, lambda _: None)
        assert found.differences == ()
    assert len(readers.seconds) > 50
    half, *_, late = quantiles(readers.seconds, n=100)[49::49]
    searches = f"searches: median {half * 1000:.1f} ms, 99th {late * 1000:.0f} ms"
    sys.stdout.write(f"{GUESTS:,} guests: {'; '.join(figures)}; {searches}\n")
