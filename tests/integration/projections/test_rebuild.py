"""Rebuilding beside the live view: no reader is disturbed, whatever happens meanwhile (ADR 0009)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from dataclasses import replace
from functools import partial

import pytest

from registration.read_models.contributions import VIEW as CONTRIBUTIONS
from registration.read_models.guest_directory import VIEW as DIRECTORY
from registration.read_models.guest_directory import GuestDirectory, Search
from shared.event_log import erasure_row
from shared.projections import FoldFailed, RebuildRunning, View
from shared.projections.rebuild import alone, rebuild
from shared.projections.verify import verify
from tests.integration.projections.conftest import Views
from tests.support.eventually import eventually
from tests.support.messaging import running

KILLS = 10


@pytest.fixture(params=["in this process", "in parallel parts"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is folded right here, and one that is shared out."""
    if request.param == "in parallel parts":
        monkeypatch.setattr("shared.projections.rebuild.SMALL_LOG", 0)
        monkeypatch.setattr("shared.projections.rebuild.PARTS", 4)


def nothing(_more: int) -> None:
    """Progress that is not shown."""


@pytest.mark.usefixtures("size")
async def test_a_rebuilt_view_equals_the_live_one_row_for_row(views: Views, view: View) -> None:
    await views.caught_up(view)
    live = await views.rows(view)
    done = await rebuild(views.source, view, nothing)
    assert await views.rows(view) == live
    assert done.events == done.position == await views.log.position()
    assert await views.tables_beside() == []


async def test_what_is_appended_during_a_rebuild_is_in_it(views: Views, view: View) -> None:
    """With the live view at work and without it; and the live one goes on after the switch."""

    async def append(_more: int = 0) -> None:
        for _ in range(4):
            await views.happens(5)

    await asyncio.gather(rebuild(views.source, view, nothing), append())
    assert (await verify(views.source, view, nothing)).differences == ()
    async with running(views.live(view).run()):
        await asyncio.gather(rebuild(views.source, view, nothing), append())
        await views.happens(5)
        await eventually(lambda: is_at_the_end(views, view))
    assert (await verify(views.source, view, nothing)).differences == ()


async def is_at_the_end(views: Views, view: View) -> bool:
    return await views.position(view) == await views.log.position()


async def test_readers_never_see_an_empty_or_half_view(views: Views) -> None:
    await views.caught_up(DIRECTORY)
    directory = GuestDirectory(views.pool)
    guests = len(await directory.find(Search("1001", limit=200)))
    by_word = len(await directory.find(Search("1001", ["0"], limit=200)))
    assert min(guests, by_word) > 30
    reading, answers = True, list[tuple[int, int]]()

    async def read() -> None:
        while reading:
            everybody = await directory.find(Search("1001", limit=200))
            found = await directory.find(Search("1001", ["0"], limit=200))
            answers.append((len(everybody), len(found)))

    readers = [asyncio.create_task(read()) for _ in range(6)]
    for _ in range(3):
        await rebuild(views.source, DIRECTORY, nothing)
    reading = False
    await asyncio.gather(*readers)
    assert len(answers) > 50
    assert set(answers) == {(guests, by_word)}


async def test_a_long_reader_is_waited_for_and_delays_no_other_reader(views: Views) -> None:
    await views.caught_up(DIRECTORY)
    directory = GuestDirectory(views.pool)
    async with views.pool.acquire() as long_reader:
        reading = long_reader.transaction()
        await reading.start()
        await long_reader.fetch("SELECT * FROM guest_directory")
        rebuilding = asyncio.create_task(rebuild(views.source, DIRECTORY, nothing))
        await eventually(lambda: switch_was_refused(views), within=30)
        async with asyncio.timeout(2):
            assert await directory.find(Search("1001"))
        assert not rebuilding.done()
        await reading.rollback()
    await rebuilding
    assert await views.tables_beside() == []


async def switch_was_refused(views: Views) -> bool:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE guest_directory%'"
    return bool(await views.pool.fetchval(waits))


async def test_killed_at_any_moment_the_old_view_serves_and_the_next_run_is_clean(views: Views) -> None:
    await views.caught_up(DIRECTORY)
    before = await views.rows(DIRECTORY)
    dice = random.Random(3)
    killed = 0
    for _ in range(KILLS):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.projections.rebuild_process", views.source.url)
        )
        await eventually(partial(is_building, views, process), within=30, every=0.005)
        await asyncio.wait([asyncio.create_task(process.wait())], timeout=dice.uniform(0, 1.5))
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        await process.wait()
        assert await views.rows(DIRECTORY) == before
    assert killed > KILLS // 2
    await rebuild(views.source, DIRECTORY, nothing)
    assert await views.rows(DIRECTORY) == before
    assert await views.tables_beside() == []


async def is_building(views: Views, process: asyncio.subprocess.Process) -> bool:
    return process.returncode is not None or bool(await views.tables_beside())


@pytest.mark.usefixtures("size")
async def test_a_fold_that_fails_stops_the_rebuild_and_names_the_event(views: Views) -> None:
    await views.caught_up(CONTRIBUTIONS)
    before = await views.rows(CONTRIBUTIONS)
    with pytest.raises(FoldFailed, match=r"registration\.guest-deregistered.*not this one"):
        await rebuild(views.source, replace(CONTRIBUTIONS, fold=refuses_deregistration), nothing)
    assert await views.rows(CONTRIBUTIONS) == before
    assert await views.tables_beside() == []


def refuses_deregistration(events, key):  # type: ignore[no-untyped-def]
    """A fold that has met its match; in a module, since other processes must find it."""
    if any(happened.event.TOPIC == "registration.guest-deregistered" for happened in events):
        raise ValueError("not this one")
    return CONTRIBUTIONS.fold(events, key)


async def test_one_at_a_time(views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.projections.rebuild.WAIT_FOR_OTHERS", "100ms")
    monkeypatch.setattr("shared.projections.rebuild.END_LEFT_SESSIONS", "SELECT $1::text")
    async with alone(views.source, CONTRIBUTIONS, "__x"):
        with pytest.raises(RebuildRunning):
            await rebuild(views.source, CONTRIBUTIONS, nothing)
    await rebuild(views.source, CONTRIBUTIONS, nothing)


@pytest.mark.parametrize(
    ("drift", "named"),
    [
        ("UPDATE contributions SET ends_on = ends_on + 1 WHERE number = 1 AND stream_id = $1", "changed"),
        ("DELETE FROM contributions WHERE number = 1 AND stream_id = $1", "missing"),
        (
            """INSERT INTO contributions
               SELECT stream_id, 99, organisation, branch, subscription_code, begins_on, ends_on, status
                 FROM contributions WHERE number = 1 AND stream_id = $1""",
            "unexpected",
        ),
    ],
)
async def test_drift_is_found_named_and_healed(views: Views, drift: str, named: str) -> None:
    await views.caught_up(CONTRIBUTIONS)
    guest = await views.pool.fetchval("SELECT stream_id FROM contributions ORDER BY 1 LIMIT 1 OFFSET 20")
    await views.pool.execute(drift, guest)
    found = await verify(views.source, CONTRIBUTIONS, nothing)
    (difference,) = found.differences
    assert difference.key == {"stream_id": str(guest), "number": 99 if named == "unexpected" else 1}
    assert (difference.in_view is None, difference.in_log is None) == (
        named == "missing",
        named == "unexpected",
    )
    assert await views.tables_beside() == []
    await rebuild(views.source, CONTRIBUTIONS, nothing)
    assert (await verify(views.source, CONTRIBUTIONS, nothing)).differences == ()


async def test_a_view_that_lags_has_not_drifted(views: Views, view: View) -> None:
    await views.caught_up(view)
    await views.happens(20)
    found = await verify(views.source, view, nothing)
    assert found.position < await views.log.position()
    assert found.differences == ()


async def test_an_erased_guest_is_in_no_directory_after_a_rebuild(views: Views) -> None:
    """R19: without the key there is nothing to show, and nothing to fail on."""
    guest = await views.pool.fetchval("SELECT subject_id FROM data_keys LIMIT 1")
    await views.log.append([], [erasure_row(guest)])
    await rebuild(views.source, DIRECTORY, nothing)
    assert await views.pool.fetchval("SELECT count(*) FROM guest_directory WHERE stream_id = $1", guest) == 0
    assert await views.pool.fetchval("SELECT count(*) FROM guest_directory") == 59
