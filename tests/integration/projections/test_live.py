"""Live views: they follow the log, wherever they are stopped and started (ADR 0009)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from registration.read_models.contributions import VIEW as CONTRIBUTIONS
from registration.read_models.guest_directory import VIEW as DIRECTORY
from shared.projections import FoldFailed, View
from shared.projections.live import status_of
from shared.projections.rebuild import rebuild
from shared.projections.verify import verify
from tests.integration.projections.conftest import Views
from tests.support.eventually import eventually
from tests.support.messaging import running


async def test_a_view_follows_the_log(views: Views, view: View) -> None:
    async with running(views.live(view).run()):
        await eventually(lambda: is_at_the_end(views, view))
        await views.happens(20)
        await eventually(lambda: is_at_the_end(views, view))
    assert (await verify(views.source, view, lambda _: None)).differences == ()
    assert all(await views.rows(view))


async def is_at_the_end(views: Views, view: View) -> bool:
    return await views.position(view) == await views.log.position()


async def test_stopped_anywhere_it_goes_on_from_there(views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between and within its steps, time and again."""
    monkeypatch.setattr("shared.projections.live.STEP", 7)
    turns = 0
    while not await is_at_the_end(views, DIRECTORY):
        following = asyncio.create_task(views.live(DIRECTORY).run())
        before = await views.position(DIRECTORY)
        await asyncio.wait([following], timeout=0.03 + 0.005 * (turns % 7))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert await views.position(DIRECTORY) >= before
        turns += 1
    assert turns > 3
    assert (await verify(views.source, DIRECTORY, lambda _: None)).differences == ()


async def test_two_that_follow_one_view_take_turns(
    views: Views, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that was stopped and goes on beside its successor does no harm."""
    monkeypatch.setattr("shared.projections.live.STEP", 5)

    async def follow() -> None:
        live = views.live(view)
        while await live.step() < await views.log.position():
            pass

    await asyncio.gather(*(follow() for _ in range(4)))
    assert (await verify(views.source, view, lambda _: None)).differences == ()


async def test_a_fold_that_fails_names_the_event_and_changes_nothing(views: Views) -> None:
    guilty = await views.pool.fetchrow(
        "SELECT notification_id, originator_id FROM stored_events"
        " WHERE topic = 'registration.guest-reregistered' LIMIT 1"
    )
    assert guilty is not None

    def fold(events, key):  # type: ignore[no-untyped-def]
        if any(happened.position == guilty["notification_id"] for happened in events):
            raise ValueError("not today")
        return CONTRIBUTIONS.fold(events, key)

    broken = replace(CONTRIBUTIONS, fold=fold)
    with pytest.raises(FoldFailed) as failed:
        await views.alone(broken).step()
    assert (failed.value.position, failed.value.stream) == (
        guilty["notification_id"],
        guilty["originator_id"],
    )
    assert "not today" in str(failed.value)
    assert await views.rows(broken) == [[]]
    assert await views.position(broken) == 0

    async with running(views.live(broken).run()):
        await eventually(lambda: failure_is_reported(views, guilty["notification_id"]))
    await views.caught_up(CONTRIBUTIONS)  # by a version that can
    (status,) = await status_of(views.pool, [CONTRIBUTIONS])
    assert (status.failure, status.lag) == (None, 0)


async def test_a_table_that_grew_is_written_compared_and_rebuilt_as_before(views: Views, view: View) -> None:
    """A later release adds columns while this one still works."""
    async with running(views.live(view).run()):
        await eventually(lambda: is_at_the_end(views, view))
        for table in view.tables:
            await views.pool.execute(f"ALTER TABLE {table.name} ADD COLUMN note text")
        await views.happens(20)
        await eventually(lambda: is_at_the_end(views, view))
    assert (await verify(views.source, view, lambda _: None)).differences == ()
    (status,) = await status_of(views.pool, [view])
    assert (status.failure, status.lag) == (None, 0)
    await rebuild(views.source, view, lambda _: None)
    for table in view.tables:
        assert await views.pool.fetchval(f"SELECT count(*) FROM {table.name} WHERE note IS NULL") > 0  # noqa: S608


async def test_whatever_stops_a_view_is_its_failure(views: Views) -> None:
    """In its status and in the gauge, as long as it lasts. Then the view goes on."""
    await views.caught_up(CONTRIBUTIONS)
    await views.happens(1)
    async with running(views.live(CONTRIBUTIONS).run()):
        for broken, mended in WAYS_TO_STOP:
            await views.pool.execute(broken)
            await views.happens(1)
            await eventually(lambda: has_failed(views, CONTRIBUTIONS))
            assert REGISTRY.get_sample_value("view_failed", {"view": CONTRIBUTIONS.name}) == 1
            await views.pool.execute(mended)
            await eventually(lambda: is_at_the_end(views, CONTRIBUTIONS), within=20)
            assert REGISTRY.get_sample_value("view_failed", {"view": CONTRIBUTIONS.name}) == 0
            assert not await has_failed(views, CONTRIBUTIONS)


WAYS_TO_STOP = [
    (
        "ALTER TABLE contributions ADD CONSTRAINT never CHECK (branch IS NULL) NOT VALID",
        "ALTER TABLE contributions DROP CONSTRAINT never",
    ),
    ("ALTER TABLE contributions RENAME TO gone", "ALTER TABLE gone RENAME TO contributions"),
]


async def has_failed(views: Views, view: View) -> bool:
    (status,) = await status_of(views.pool, [view])
    return status.failure is not None


@pytest.mark.parametrize("knows_versions", [True, False])
async def test_a_view_with_rows_of_an_older_fold_is_rebuilt(views: Views, knows_versions: bool) -> None:
    """At once when a worker of the new release follows it, and once more after an older one wrote to it.

    Also one of the release before there were versions, which moves the position and nothing else.
    """

    def fold(events, key):  # type: ignore[no-untyped-def]
        guests, words = DIRECTORY.fold(events, key)
        return guests, [(stream, place, f"{word}!", *more) for stream, place, word, *more in words]

    async def has_old_words() -> bool:
        found: bool = await views.pool.fetchval(
            "SELECT EXISTS (SELECT FROM guest_words WHERE word NOT LIKE '%!')"
        )
        return found

    renewed = replace(DIRECTORY, fold=fold, version=DIRECTORY.version + 1)
    for _ in range(2):
        await views.happens(5)
        [before] = await views.pool.fetch(WRITTEN, DIRECTORY.name)
        await views.caught_up(DIRECTORY)
        if not knows_versions:
            await views.pool.execute(WRITTEN_BEFORE_VERSIONS, DIRECTORY.name, *before)
        assert await has_old_words()
        async with running(views.live(renewed).run()):
            await eventually(lambda: no(has_old_words()), within=20)
            await eventually(lambda: is_at_the_end(views, renewed))
        assert (await verify(views.source, renewed, lambda _: None)).differences == ()


async def test_an_older_worker_is_noticed_also_when_nothing_happens(views: Views) -> None:
    async def is_current() -> bool:
        version: int = await views.pool.fetchval(
            "SELECT version FROM projections WHERE name = $1", DIRECTORY.name
        )
        return version == DIRECTORY.version

    await views.happens(2)
    async with running(views.live(DIRECTORY).run()):
        await eventually(lambda: is_at_the_end(views, DIRECTORY))
        await views.pool.execute(
            "UPDATE projections SET version = version - 1 WHERE name = $1", DIRECTORY.name
        )
        await eventually(is_current, within=20)


WRITTEN = "SELECT version, version_at FROM projections WHERE name = $1"
WRITTEN_BEFORE_VERSIONS = "UPDATE projections SET version = $2, version_at = $3 WHERE name = $1"


async def no(answer: Awaitable[bool]) -> bool:
    return not await answer


async def failure_is_reported(views: Views, position: int) -> bool:
    (status,) = await status_of(views.pool, [CONTRIBUTIONS])
    return status.failure is not None and f"position {position} " in status.failure
