"""An event that a view cannot apply stops that view alone, is named, and is retried until it is mended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from registration.read_models import VIEWS
from registration.read_models.contributions import VIEW as CONTRIBUTIONS
from registration.read_models.guest_directory import VIEW as DIRECTORY
from registration.read_models.history import VIEW as HISTORY
from shared.event_log.aggregate_store import make_transcoder
from shared.projections import FoldFailed, View
from shared.projections.live import ViewStatus, status_of, update_view_metrics, view_failed
from shared.projections.rebuild import rebuild
from shared.projections.verify import verify
from tests.integration.projections.conftest import MASTER_KEYS, Views
from tests.support.eventually import eventually
from tests.support.messaging import running
from tests.support.servers import execute_as_owner

ALL = {view.name for view in VIEWS}
WITH_BRANCH = {"guest_directory", "contributions", "history", "desk_statistics"}
REGISTERED = "registration.guest-registered"

APPENDED = """
INSERT INTO stored_events (originator_id, originator_version, notification_id, event_id, correlation_id,
                           recorded_at, topic, caused_by, state)
SELECT originator_id, (SELECT max(originator_version) + 1 FROM stored_events WHERE originator_id = $1),
       (SELECT max(notification_id) + 1 FROM stored_events), gen_random_uuid(), correlation_id,
       recorded_at, $2, caused_by, $3
  FROM stored_events WHERE originator_id = $1 AND originator_version = 1
RETURNING notification_id
"""


class Poison:
    """An event of one guest, in the middle of a log, that some views cannot apply."""

    def __init__(self, views: Views, guest: UUID, first_state: bytes) -> None:
        self.views, self.guest, self.first_state = views, guest, first_state
        self.position, self.topic = 0, ""

    async def appended(self, topic: str, state: bytes) -> None:
        """This event happens to the guest, and more happens to others afterwards."""
        self.topic = topic
        self.position = await self.views.pool.fetchval(APPENDED, self.guest, topic, state)
        await self.views.happens(5)

    async def mended(self) -> None:
        """As after an upgrade: the same event can be read."""
        await execute_as_owner(
            self.views.pool,
            "UPDATE stored_events SET topic = $2, state = $3 WHERE notification_id = $1",
            self.position,
            REGISTERED,
            self.first_state,
        )

    def is_named_in(self, failure: str | None) -> bool:
        """Whether an operator reads which event it is."""
        return (
            failure is not None and f"position {self.position} ({self.topic}, stream {self.guest})" in failure
        )


@pytest.fixture
async def poison(views: Views) -> Poison:
    """Not appended yet."""
    row = await views.pool.fetchrow(
        "SELECT originator_id, state FROM stored_events"
        " WHERE topic = 'registration.guest-registered' AND notification_id > 20 LIMIT 1"
    )
    assert row is not None
    return Poison(views, UUID(str(row["originator_id"])), row["state"])


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed view is tried again at once."""
    monkeypatch.setattr("shared.projections.live.FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr("shared.projections.live.LONGEST_PAUSE_SECONDS", 0.2)


async def unknown_topic(poison: Poison) -> set[str]:
    await poison.appended("registration.guest-teleported", poison.first_state)
    return ALL


async def unreadable_state(poison: Poison) -> set[str]:
    await poison.appended(REGISTERED, b"\xff not JSON")
    return ALL


async def missing_field(poison: Poison) -> set[str]:
    fields = make_transcoder().decode(poison.first_state)
    del fields["organisation"]
    await poison.appended(REGISTERED, make_transcoder().encode(fields))
    return ALL - {"history"}  # which lists the fields that are there


async def unstorable_text(poison: Poison) -> set[str]:
    fields = make_transcoder().decode(poison.first_state) | {"branch": "94\0"}
    await poison.appended(REGISTERED, make_transcoder().encode(fields))
    return WITH_BRANCH


async def wrong_type(poison: Poison) -> set[str]:
    fields = make_transcoder().decode(poison.first_state) | {"organisation": 1001}
    await poison.appended(REGISTERED, make_transcoder().encode(fields))
    return {"guest_directory", "contributions", "terms_due", "desk_statistics"}


async def wrong_details(poison: Poison) -> set[str]:
    """The text of the error holds personal data."""
    wrapped = await poison.views.pool.fetchval(
        "SELECT wrapped FROM data_keys WHERE subject_id = $1", poison.guest
    )
    key = MASTER_KEYS.unwrap(poison.guest, wrapped)
    details = {"name": "Xaviera", "birth_date": {"_type_": "date_iso", "_data_": "Xaviera"}}
    fields = make_transcoder().decode(poison.first_state) | {"sealed_details": key.encrypt(details)}
    await poison.appended(REGISTERED, make_transcoder().encode(fields))
    return {"guest_directory"}


Append = Callable[[Poison], Awaitable[set[str]]]


@pytest.mark.parametrize(
    "append",
    [
        unknown_topic,
        unreadable_state,
        missing_field,
        unstorable_text,
        wrong_type,
        wrong_details,
    ],
)
async def test_it_stops_these_views_only_is_named_and_applied_once_mended(
    views: Views, poison: Poison, append: Append
) -> None:
    stopped = await append(poison)
    head = await views.log.position()
    async with running(views.live(*VIEWS).run()):
        before = await eventually(lambda: outcome(views, poison, stopped))
        assert {name: status.position for name, status in before.items()} == {
            name: poison.position - 1 if name in stopped else head for name in ALL
        }
        assert not [status.failure for status in before.values() if "Xaviera" in str(status.failure)]
        await update_view_metrics(views.pool, VIEWS)
        assert {name for name in ALL if view_failed.labels(name)._value.get()} == stopped
        await poison.mended()
        await eventually(lambda: all_live(views, head))  # without a restart
    for view in VIEWS:
        if view.name in stopped:  # the others had applied the event as it was before
            assert (await verify(views.source, view, lambda _: None)).differences == ()


async def outcome(views: Views, poison: Poison, stopped: set[str]) -> dict[str, ViewStatus]:
    """The status of all views, once those to be stopped are, and the others are at the end."""
    found = {status.name: status for status in await status_of(views.pool, VIEWS)}
    for name, status in found.items():
        if name in stopped:
            assert poison.is_named_in(status.failure), f"{name}: {status.failure}"
        else:
            assert (status.failure, status.lag) == (None, 0), name
    return found


async def all_live(views: Views, head: int) -> bool:
    found = await status_of(views.pool, VIEWS)
    return all((status.failure, status.position) == (None, head) for status in found)


async def test_a_data_key_that_cannot_be_unwrapped_stops_the_views_that_decrypt(
    views: Views, poison: Poison
) -> None:
    await execute_as_owner(
        views.pool, "UPDATE data_keys SET wrapped = '\\x00' WHERE subject_id = $1", poison.guest
    )
    async with running(views.live(DIRECTORY, CONTRIBUTIONS).run()):
        failure = await eventually(lambda: failure_of(views, DIRECTORY))
        await eventually(lambda: is_at_the_end(views, CONTRIBUTIONS))
    assert str(poison.guest) in failure
    assert "DecryptionFailed" in failure
    assert await views.position(DIRECTORY) > 0


async def failure_of(views: Views, view: View) -> str:
    """Why the view stopped; empty when it goes on."""
    (status,) = await status_of(views.pool, [view])
    return status.failure or ""


async def is_at_the_end(views: Views, view: View) -> bool:
    return await views.position(view) == await views.log.position()


@pytest.mark.parametrize("append", [unknown_topic, unreadable_state, unstorable_text])
@pytest.mark.parametrize("size", ["in this process", "in parallel parts"])
async def test_a_rebuild_names_it_and_changes_nothing(
    views: Views, poison: Poison, append: Append, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if size == "in parallel parts":
        monkeypatch.setattr("shared.projections.rebuild.SMALL_LOG", 0)
        monkeypatch.setattr("shared.projections.rebuild.PARTS", 4)
    await views.caught_up(HISTORY)
    before = await views.rows(HISTORY)
    await append(poison)
    for build in (rebuild, verify):
        with pytest.raises(FoldFailed) as failed:
            await build(views.source, HISTORY, lambda _: None)
        assert poison.is_named_in(str(failed.value))
    assert await views.rows(HISTORY) == before
    assert await views.tables_beside() == []
    await poison.mended()
    await rebuild(views.source, HISTORY, lambda _: None)


def unstorable_error(events: Any, _key: Any) -> Any:
    """A fold whose error has a text that cannot be stored or shown on a terminal."""
    raise ValueError("\0 \x1b[2J \ud800")


async def test_whatever_the_error_says_it_is_stored(views: Views) -> None:
    async with running(views.live(replace(CONTRIBUTIONS, fold=unstorable_error)).run()):
        failure = await eventually(lambda: failure_of(views, CONTRIBUTIONS))
    assert failure.endswith(r"ValueError: \x00 \x1b[2J \ud800.")


def too_large_a_number(events: Any, key: Any) -> Any:
    """A fold that makes a number that its column cannot hold, for guests that were deregistered."""
    [rows] = CONTRIBUTIONS.fold(events, key)
    if any(happened.event.TOPIC == "registration.guest-deregistered" for happened in events):
        rows = [(row[0], 2**40, *row[2:]) for row in rows]
    return [rows]


async def test_a_number_out_of_range_is_named_too(views: Views) -> None:
    guilty = await views.pool.fetchrow(
        "SELECT notification_id, originator_id FROM stored_events"
        " WHERE topic = 'registration.guest-deregistered' ORDER BY notification_id LIMIT 1"
    )
    assert guilty is not None
    broken = replace(CONTRIBUTIONS, fold=too_large_a_number)
    async with running(views.live(broken).run()):
        failure = await eventually(lambda: failure_of(views, broken))
        await eventually(lambda: is_before(views, broken, guilty["notification_id"]))
        assert f"position {guilty['notification_id']} " in failure
        assert str(guilty["originator_id"]) in failure
    await views.caught_up(CONTRIBUTIONS)  # by a version that can
    assert await failure_of(views, CONTRIBUTIONS) == ""


async def is_before(views: Views, view: View, position: int) -> bool:
    return await views.position(view) == position - 1


async def test_a_view_that_fails_for_another_reason_is_reported_and_goes_on(views: Views) -> None:
    await views.pool.execute("ALTER TABLE contributions RENAME TO gone")
    async with running(views.live(CONTRIBUTIONS, HISTORY).run()):
        failure = await eventually(lambda: failure_of(views, CONTRIBUTIONS))
        assert "UndefinedTableError" in failure
        await eventually(lambda: is_at_the_end(views, HISTORY))
        await views.pool.execute("ALTER TABLE gone RENAME TO contributions")
        await eventually(lambda: is_at_the_end(views, CONTRIBUTIONS))
    assert await failure_of(views, CONTRIBUTIONS) == ""


async def test_a_lost_connection_is_no_failure_of_the_view(
    views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, step, lost = views.live(CONTRIBUTIONS), views.live(CONTRIBUTIONS).step, 0

    async def loses_its_connection(*arguments: Any) -> int:
        nonlocal lost
        lost += 1
        if lost == 1:
            raise asyncpg.ConnectionDoesNotExistError("gone")
        return await step(*arguments)

    monkeypatch.setattr(live, "step", loses_its_connection)
    async with running(live.run()):
        await eventually(lambda: lost)
        assert await failure_of(views, CONTRIBUTIONS) == ""
        await eventually(lambda: is_at_the_end(views, CONTRIBUTIONS))
