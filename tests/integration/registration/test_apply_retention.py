"""After the retention period nothing personal is left of those whose registration ended (R19)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from registration.application.apply_retention import apply_retention
from registration.application.show_guest import show_guest
from registration.bootstrap import view_source, worker_tasks
from registration.read_models import ended_guests
from registration.read_models.ended_guests import EndedGuests
from shared.event_log.failures import FAILURES
from shared.event_log.retention import Retention
from tests.support.event_log import make_unreadable
from tests.support.projections import follow_all
from tests.support.registration import on_day
from tests.support.registration_service import TODAY, RegistrationApp, open_registration_app, registering

KEPT = 365
DAY_AFTER = TODAY + timedelta(days=KEPT + 1)


@pytest.fixture
async def registration_app(database: str, tmp_path: Path) -> AsyncIterator[RegistrationApp]:
    async with open_registration_app(database, tmp_path) as opened:
        yield opened


async def register(registration_app: RegistrationApp, card: str) -> UUID:
    registration_app.member(card, ends_on=date(2036, 12, 31))
    async with registration_app.client(scope="counter", organisation="1001") as clerk:
        answer = await clerk.post("/v1/guests", json=registering(card))
    assert answer.status_code == 201, answer.text
    return UUID(answer.json()["guest_id"])


async def deregister(registration_app: RegistrationApp, guest_id: UUID) -> None:
    async with registration_app.client(scope="counter", organisation="1001") as clerk:
        answer = await clerk.post(f"/v1/guests/{guest_id}/deregistration", json={"reason": "verhuisd"})
    assert answer.status_code == 200, answer.text


async def view_catches_up(registration_app: RegistrationApp) -> None:
    await follow_all(
        registration_app.service, [ended_guests.VIEW], view_source(registration_app.service.settings)
    )


async def retention(registration_app: RegistrationApp, today: date) -> Retention:
    registration_app.clock.moment = on_day(today)
    service = registration_app.service
    return await apply_retention(KEPT, EndedGuests(service.pool), service.deps)


async def forget(registration_app: RegistrationApp, today: date) -> int:
    """Apply the retention period on a day; how many were erased. None may fail."""
    done = await retention(registration_app, today)
    assert done.failed == {}
    return len(done.erased)


async def status(registration_app: RegistrationApp, guest_id: UUID) -> tuple[str, bool]:
    """The guest's status, and whether anything personal is shown."""
    shown = await show_guest(guest_id, "1001", registration_app.service.deps)
    return shown.status, shown.details is not None


async def test_r19_a_registration_that_ended_longer_ago_is_erased_and_no_other(
    registration_app: RegistrationApp,
) -> None:
    ended, ended_later, running = [await register(registration_app, card) for card in ("1", "2", "3")]
    await deregister(registration_app, ended)
    registration_app.clock.moment = on_day(TODAY + timedelta(days=1))
    await deregister(registration_app, ended_later)
    await view_catches_up(registration_app)

    assert await forget(registration_app, TODAY + timedelta(days=KEPT)) == 0, "the last day still counts"
    assert await forget(registration_app, DAY_AFTER) == 1
    assert await status(registration_app, ended) == ("erased", False)
    assert await status(registration_app, ended_later) == ("deregistered", True)
    assert await status(registration_app, running) == ("valid", True)
    assert await registration_app.service.deps.data_keys.get(ended) is None
    assert ended in await registration_app.service.deps.store.log.erasures()


async def test_r19_one_guest_that_cannot_be_read_is_reported_and_all_others_are_erased(
    registration_app: RegistrationApp,
) -> None:
    guests = [await register(registration_app, card) for card in ("1", "2", "3")]
    for guest_id in guests:
        await deregister(registration_app, guest_id)
    await view_catches_up(registration_app)
    _, broken, _ = sorted(guests)
    await make_unreadable(registration_app.service.log, broken)
    counted = FAILURES.labels("retention")._value.get()

    with capture_logs() as logged:
        done = await retention(registration_app, DAY_AFTER)

    assert (set(done.erased), done.failed) == (set(guests) - {broken}, {broken: "UnreadableEvent"})
    assert FAILURES.labels("retention")._value.get() == counted + 1
    [line] = [line for line in logged if line["event"] == "subject.failed"]
    assert (line["subject_id"], line["error"]) == (str(broken), "UnreadableEvent")


async def test_r19_without_its_ledger_nothing_more_is_erased(
    registration_app: RegistrationApp, tmp_path: Path
) -> None:
    """A subject's own errors are skipped; one of the machine ends the run, and the next one goes on."""
    for guest_id in [await register(registration_app, card) for card in ("1", "2")]:
        await deregister(registration_app, guest_id)
    await view_catches_up(registration_app)
    (tmp_path / "ledger").write_text("a file where the folder must be", "utf-8")
    with pytest.raises(OSError, match="ledger"):
        await retention(registration_app, DAY_AFTER)
    assert len(await registration_app.service.log.erasures()) == 1


async def test_r19_again_before_the_view_has_caught_up_erases_nobody_twice(
    registration_app: RegistrationApp,
) -> None:
    await deregister(registration_app, await register(registration_app, "1"))
    await view_catches_up(registration_app)
    assert await forget(registration_app, DAY_AFTER) == 1
    async with registration_app.nothing_written():
        assert await forget(registration_app, DAY_AFTER) == 0
    await view_catches_up(registration_app)
    assert await EndedGuests(registration_app.service.pool).before(date.max) == []


async def test_r19_who_came_back_before_the_view_has_caught_up_is_kept(
    registration_app: RegistrationApp,
) -> None:
    guest_id = await register(registration_app, "1")
    await deregister(registration_app, guest_id)
    await view_catches_up(registration_app)
    registration_app.clock.moment = on_day(DAY_AFTER)
    assert await register(registration_app, "1") == guest_id
    async with registration_app.nothing_written():
        assert await forget(registration_app, DAY_AFTER) == 0
    assert await status(registration_app, guest_id) == ("valid", True)


async def test_r18_r19_records_that_were_merged_go_with_their_guest(
    registration_app: RegistrationApp,
) -> None:
    survivor, other = await register(registration_app, "1"), await register(registration_app, "2")
    async with registration_app.client(scope="counter", organisation="1001") as clerk:
        merged = await clerk.post(f"/v1/guests/{other}/merge", json={"into": str(survivor), "confirm": True})
    assert merged.status_code == 200, merged.text
    await view_catches_up(registration_app)
    assert await forget(registration_app, DAY_AFTER) == 0, "that person is a guest"
    await deregister(registration_app, survivor)
    await view_catches_up(registration_app)
    assert await forget(registration_app, DAY_AFTER + timedelta(days=KEPT + 1)) == 1
    log = registration_app.service.deps.store.log
    assert {survivor, other} <= set(await log.erasures())


async def test_r19_page_after_page_all_are_erased(
    registration_app: RegistrationApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_guests, "PAGE", 2)
    guests = [await register(registration_app, str(card)) for card in range(1, 6)]
    for guest_id in guests:
        await deregister(registration_app, guest_id)
    await view_catches_up(registration_app)
    assert await forget(registration_app, DAY_AFTER) == len(guests)
    assert [await status(registration_app, guest_id) for guest_id in guests] == [("erased", False)] * len(
        guests
    )


async def test_r19_the_worker_applies_retention_only_where_a_period_is_set(
    database: str, tmp_path: Path, registration_app: RegistrationApp
) -> None:
    assert "retention" not in worker_tasks(registration_app.service)
    (tmp_path / "kept").mkdir()
    async with open_registration_app(database, tmp_path / "kept", retention_days=KEPT) as forgetful:
        assert "retention" in worker_tasks(forgetful.service)
