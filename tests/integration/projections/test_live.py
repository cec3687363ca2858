"""Live views: they follow the log, wherever they are stopped and started (ADR 0009)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from registration.read_models.contributions import VIEW as CONTRIBUTIONS
from registration.read_models.guest_directory import VIEW as DIRECTORY
from shared.projections import FoldFailed, View
from shared.projections.live import status_of
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
        await asyncio.wait([following], timeout=0.01 + 0.002 * (turns % 7))
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
    live = views.live(broken)
    with pytest.raises(FoldFailed) as failed:
        await live.step()
    assert (failed.value.position, failed.value.stream) == (
        guilty["notification_id"],
        guilty["originator_id"],
    )
    assert "not today" in str(failed.value)
    assert await views.rows(broken) == [[]]
    assert await views.position(broken) == 0

    async with running(live.run()):
        await eventually(lambda: failure_is_reported(views, guilty["notification_id"]))
    await views.caught_up(CONTRIBUTIONS)  # by a version that can
    (status,) = await status_of(views.pool, [CONTRIBUTIONS])
    assert (status.failure, status.lag) == (None, 0)


async def failure_is_reported(views: Views, position: int) -> bool:
    (status,) = await status_of(views.pool, [CONTRIBUTIONS])
    return status.failure is not None and f"position {position} " in status.failure
