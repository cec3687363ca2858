"""After the retention period nothing personal is left of those whose registration ended (R19)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from registration.application.apply_retention import apply_retention
from registration.application.show_guest import show_guest
from registration.bootstrap import view_source, worker_tasks
from registration.read_models import ended_guests
from registration.read_models.ended_guests import EndedGuests
from tests.support.registration import on_day
from tests.support.registration_service import TODAY, Counter, open_counter, registering
from tests.support.views import follow_all

KEPT = 365
DAY_AFTER = TODAY + timedelta(days=KEPT + 1)


@pytest.fixture
async def counter(database: str, tmp_path: Path) -> AsyncIterator[Counter]:
    async with open_counter(database, tmp_path) as opened:
        yield opened


async def register(counter: Counter, card: str) -> UUID:
    counter.member(card, ends_on=date(2036, 12, 31))
    async with counter.client(scope="counter", organisation="1001") as clerk:
        answer = await clerk.post("/v1/guests", json=registering(card))
    assert answer.status_code == 201, answer.text
    return UUID(answer.json()["guest_id"])


async def deregister(counter: Counter, guest_id: UUID) -> None:
    async with counter.client(scope="counter", organisation="1001") as clerk:
        answer = await clerk.post(f"/v1/guests/{guest_id}/deregistration", json={"reason": "verhuisd"})
    assert answer.status_code == 200, answer.text


async def view_catches_up(counter: Counter) -> None:
    await follow_all(counter.service, [ended_guests.VIEW], view_source(counter.service.settings))


async def forget(counter: Counter, today: date) -> int:
    counter.clock.moment = on_day(today)
    service = counter.service
    return await apply_retention(KEPT, EndedGuests(service.pool), service.deps)


async def status(counter: Counter, guest_id: UUID) -> tuple[str, bool]:
    """How the guest stands, and whether anything personal is shown."""
    shown = await show_guest(guest_id, "1001", counter.service.deps)
    return shown.status, shown.details is not None


async def test_r19_who_ended_longer_ago_than_that_is_forgotten_and_nobody_else(
    counter: Counter,
) -> None:
    ended, ended_later, running = [await register(counter, card) for card in ("1", "2", "3")]
    await deregister(counter, ended)
    counter.clock.moment = on_day(TODAY + timedelta(days=1))
    await deregister(counter, ended_later)
    await view_catches_up(counter)

    assert await forget(counter, TODAY + timedelta(days=KEPT)) == 0, "the last day still counts"
    assert await forget(counter, DAY_AFTER) == 1
    assert await status(counter, ended) == ("erased", False)
    assert await status(counter, ended_later) == ("deregistered", True)
    assert await status(counter, running) == ("valid", True)
    assert await counter.service.deps.data_keys.get(ended) is None
    assert ended in await counter.service.deps.store.log.erasures()


async def test_r19_again_before_the_view_has_caught_up_erases_nobody_twice(counter: Counter) -> None:
    await deregister(counter, await register(counter, "1"))
    await view_catches_up(counter)
    assert await forget(counter, DAY_AFTER) == 1
    async with counter.nothing_written():
        assert await forget(counter, DAY_AFTER) == 0
    await view_catches_up(counter)
    assert await EndedGuests(counter.service.pool).before(date.max) == []


async def test_r19_who_came_back_before_the_view_has_caught_up_is_kept(counter: Counter) -> None:
    guest_id = await register(counter, "1")
    await deregister(counter, guest_id)
    await view_catches_up(counter)
    counter.clock.moment = on_day(DAY_AFTER)
    assert await register(counter, "1") == guest_id
    async with counter.nothing_written():
        assert await forget(counter, DAY_AFTER) == 0
    assert await status(counter, guest_id) == ("valid", True)


async def test_r18_r19_records_that_were_merged_go_with_their_guest(counter: Counter) -> None:
    survivor, other = await register(counter, "1"), await register(counter, "2")
    async with counter.client(scope="counter", organisation="1001") as clerk:
        merged = await clerk.post(f"/v1/guests/{other}/merge", json={"into": str(survivor), "confirm": True})
    assert merged.status_code == 200, merged.text
    await view_catches_up(counter)
    assert await forget(counter, DAY_AFTER) == 0, "that person is a guest"
    await deregister(counter, survivor)
    await view_catches_up(counter)
    assert await forget(counter, DAY_AFTER + timedelta(days=KEPT + 1)) == 1
    log = counter.service.deps.store.log
    assert set(await log.erased([survivor, other])) == {survivor, other}


async def test_r19_page_after_page_everybody_is_forgotten(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_guests, "PAGE", 2)
    guests = [await register(counter, str(card)) for card in range(1, 6)]
    for guest_id in guests:
        await deregister(counter, guest_id)
    await view_catches_up(counter)
    assert await forget(counter, DAY_AFTER) == len(guests)
    assert [await status(counter, guest_id) for guest_id in guests] == [("erased", False)] * len(guests)


async def test_r19_the_worker_forgets_only_where_a_period_is_set(
    database: str, tmp_path: Path, counter: Counter
) -> None:
    assert "retention" not in worker_tasks(counter.service)
    (tmp_path / "kept").mkdir()
    async with open_counter(database, tmp_path / "kept", retention_days=KEPT) as forgetful:
        assert "retention" in worker_tasks(forgetful.service)
