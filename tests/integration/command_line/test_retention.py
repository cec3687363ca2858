"""`retention` of both services: shown first, then done, with ids only."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from identity.domain.login_account import login_account_stream
from tests.support.event_log import in_postgres, make_unreadable
from tests.support.identity import FixedClock
from tests.support.installation import IdentityInstallation, Installation
from tests.support.servers import as_owner

Captured = pytest.CaptureFixture[str]
LONG_AGO = datetime(2024, 9, 11, 12, tzinfo=UTC)


@pytest.fixture
def ended(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """A guest who was deregistered long ago; at identity an account that logged in once, long ago."""
    if isinstance(installed, IdentityInstallation):
        installed.clock = FixedClock(LONG_AGO)
        asyncio.run(as_if_made(database_of(installed), LONG_AGO))
    installed.live()
    assert installed.run("projections", "rebuild", "all") == 0
    monkeypatch.setenv(installed.variable("retention_days"), "1")
    if isinstance(installed, IdentityInstallation):
        return login_account_stream("acc-piet")
    return installed.guest_id


def database_of(installed: Installation) -> str:
    url: str = installed.settings.database_url.get_secret_value()
    return url


async def as_if_made(database: str, moment: datetime) -> None:
    """Let the database be as old as that."""
    async with as_owner(database) as owner:
        await owner.execute("UPDATE schema_migrations SET applied_at = $1", moment)


def output_of(installed: Installation, capsys: Captured, *arguments: str, code: int = 0) -> Any:
    """The JSON of `retention`."""
    capsys.readouterr()
    assert installed.run("retention", *arguments, "--json") == code
    return json.loads(capsys.readouterr().out)


def test_r19_the_dry_run_shows_what_is_erased_then(
    installed: Installation, ended: UUID, capsys: Captured
) -> None:
    before = installed.answers()
    shown = output_of(installed, capsys, "--dry-run")
    assert shown == {"dry_run": True, "erased": [str(ended)], "failed": {}}
    assert installed.run("retention", "--dry-run") == 0
    assert capsys.readouterr().out == f"Would be erased: 1.\n{ended}\n"
    assert installed.answers() == before

    assert output_of(installed, capsys) == shown | {"dry_run": False}
    assert installed.answers() != before
    assert output_of(installed, capsys)["erased"] == []


def test_r19_one_that_cannot_be_read_is_named(installed: Installation, ended: UUID, capsys: Captured) -> None:
    async def broken() -> None:
        async with in_postgres(database_of(installed)) as opened:
            await make_unreadable(opened.log, ended)

    asyncio.run(broken())
    for arguments in (["--dry-run"], []):
        done = output_of(installed, capsys, *arguments, code=1)
        assert (done["erased"], done["failed"]) == ([], {str(ended): "UnreadableEvent"})
    assert installed.run("retention") == 1
    assert f"{ended} (UnreadableEvent)" in capsys.readouterr().err.splitlines()[-1]


def test_without_a_period_there_is_nothing_to_apply(installed: Installation, capsys: Captured) -> None:
    assert installed.run("retention", "--dry-run") == 1
    assert f"{installed.variable('retention_days')} is not set" in capsys.readouterr().err
