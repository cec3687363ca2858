"""The retention period of login accounts, over the database and its view (I9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from identity.application.apply_retention import apply_retention
from identity.bootstrap import view_source, worker_tasks
from identity.domain.login_account import LOGIN_NOTED_EVERY, login_account_stream
from identity.read_models import unused_accounts
from identity.read_models.unused_accounts import UnusedAccounts
from tests.support.identity import FixedClock, existing
from tests.support.identity_service import IdentityApp, login, open_identity_app
from tests.support.projections import follow_all
from tests.support.servers import as_owner

KEPT = 365
FIRST = datetime(2025, 9, 11, 12, tzinfo=UTC)
OVER = FIRST + LOGIN_NOTED_EVERY + timedelta(days=KEPT + 1)
STREAMS = {name: login_account_stream(f"acc-{name}") for name in ("jan", "kind", "piet")}


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(FIRST)


@pytest.fixture
async def identity_app(database: str, tmp_path: Path, clock: FixedClock) -> AsyncIterator[IdentityApp]:
    """Identity on a day of long ago, with a database that was made before."""
    async with as_owner(database) as owner:
        await owner.execute("UPDATE schema_migrations SET applied_at = $1", FIRST)
    async with open_identity_app(database, tmp_path, clock=clock) as opened:
        yield opened


async def logs_in(identity_app: IdentityApp, name: str) -> dict[str, object]:
    async with identity_app.client() as wisecat:
        answer = await wisecat.post("/v1/logins", json=login(name))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def forget(identity_app: IdentityApp) -> list[UUID]:
    """Apply the retention period once the view has caught up; what was erased."""
    service = identity_app.service
    await follow_all(service, [unused_accounts.VIEW], view_source(service.settings))
    done = await apply_retention(KEPT, UnusedAccounts(service.pool), service.deps)
    assert done.failed == {}
    return list(done.erased)


async def test_i9_accounts_that_nothing_uses_are_erased_and_no_others(
    identity_app: IdentityApp, clock: FixedClock
) -> None:
    guest = identity_app.counter.registers("piet", existing("piet"))
    await identity_app.deliver_all(guest)
    first = {name: await logs_in(identity_app, name) for name in STREAMS}
    clock.at = FIRST + timedelta(days=100)
    assert await logs_in(identity_app, "kind") == first["kind"] | {
        "first_login": False,
        "outcome": "recognised",
    }

    clock.at = OVER - timedelta(days=1)
    assert await forget(identity_app) == []
    clock.at = OVER
    assert await forget(identity_app) == [STREAMS["jan"]]
    assert await forget(identity_app) == []
    pool = identity_app.service.pool
    assert await pool.fetchval("SELECT count(*) FROM data_keys WHERE subject_id = $1", STREAMS["jan"]) == 0
    listed = await pool.fetch("SELECT stream_id FROM unused_accounts")
    assert [row["stream_id"] for row in listed] == [STREAMS["kind"]]
    again = await logs_in(identity_app, "jan")
    assert (again["outcome"], again["first_login"]) == ("new_actor", True)
    assert again["actor_id"] != first["jan"]["actor_id"]


async def test_i9_page_after_page_all_are_erased(
    identity_app: IdentityApp, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unused_accounts, "PAGE", 1)
    for name in STREAMS:
        await logs_in(identity_app, name)
    clock.at = OVER
    assert set(await forget(identity_app)) == set(STREAMS.values())


async def test_i9_logins_of_before_were_not_noted_so_the_period_begins_with_the_upgrade(
    identity_app: IdentityApp, clock: FixedClock, database: str
) -> None:
    await logs_in(identity_app, "jan")
    upgraded = OVER - timedelta(days=KEPT)
    async with as_owner(database) as owner:
        await owner.execute("UPDATE schema_migrations SET applied_at = $1", upgraded)
    clock.at = OVER
    assert await forget(identity_app) == []
    clock.at = upgraded + timedelta(days=KEPT + 2)
    assert await forget(identity_app) == [STREAMS["jan"]]


async def test_i9_the_worker_applies_retention_only_where_a_period_is_set(identity_app: IdentityApp) -> None:
    assert "retention" not in worker_tasks(identity_app.service)
