"""`projections list|status|rebuild|verify`, as an operator uses them."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from identity.cli.main import app as identity_app
from registration.adapters.tables import SCHEMA
from registration.cli.main import app as registration_app
from registration.read_models import VIEWS
from registration.settings import Settings
from shared.cli.running import exit_code
from shared.event_log import MasterKeys
from tests.support.eventually import eventually
from tests.support.installation import put_into_environment
from tests.support.projections import Lives, write
from tests.support.registration_service import settings_in
from tests.support.servers import as_owner, migrated
from tests.support.tokens import Signer

registration = partial(exit_code, registration_app, "registration")


@pytest.fixture
def installation(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registration database with forty guests, and views that have taken in nothing."""
    settings = settings_in(tmp_path, database, Signer(tmp_path / "jwks.json"))
    put_into_environment(settings, monkeypatch)
    asyncio.run(_filled(database, settings))
    return database


async def _filled(database: str, settings: Settings) -> None:
    await migrated(database, SCHEMA)
    connection = await asyncpg.connect(database)
    try:
        lives = Lives(1, MasterKeys.from_file(settings.master_key_file))
        await write(connection, 0, *lives.rows(0, 40))
    finally:
        await connection.close()


def sql(database: str, statement: str) -> object:
    async def run() -> object:
        async with as_owner(database) as owner:
            return await owner.fetchval(statement)

    return asyncio.run(run())


Capture = pytest.CaptureFixture[str]


@pytest.mark.usefixtures("installation")
def test_the_views_are_listed_with_what_they_are_for(capsys: Capture) -> None:
    assert registration(["projections", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(view.name in listed for view in VIEWS)
    assert registration(["projections", "list", "--json"]) == 0
    assert {view["name"] for view in json.loads(capsys.readouterr().out)} >= {"guest_directory", "history"}


def test_status_shows_lag_failures_and_parked_guests(installation: str, capsys: Capture) -> None:
    sql(installation, "UPDATE projections SET failure = 'position 7' WHERE name = 'history'")
    sql(
        installation,
        "INSERT INTO held_guests (guest_id, state, reason, next_try)"
        " VALUES (gen_random_uuid(), 'parked', 'KeyError', now())",
    )
    assert registration(["projections", "status", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    views = {view["name"]: view for view in output["views"]}
    head = sql(installation, "SELECT max(notification_id) FROM stored_events")
    assert views["contributions"]["lag"] == head
    assert (views["history"]["failure"], views["contributions"]["failure"]) == ("position 7", None)
    assert output["held_guests"] == {"waiting": 0, "parked": 1, "diverged": 0}
    assert registration(["doctor", "--json"]) in {0, 1}
    [found] = [check for check in json.loads(capsys.readouterr().out)["checks"] if check["step"] == "views"]
    assert (found["ok"], found["vital"], found["found"]) == (False, False, "ViewStopped: position 7")
    assert registration(["projections", "status"]) == 0
    table = capsys.readouterr().out
    assert re.search(r"contributions\s+0\s+\d+\s+no worker keeps it live\s+never", table)
    assert re.search(r"parked\s+1", table)


def test_rebuild_and_verify_and_the_drift_between(installation: str, capsys: Capture) -> None:
    assert registration(["projections", "rebuild", "all"]) == 0
    assert len(re.findall(r"events in", capsys.readouterr().out)) == len(VIEWS)
    assert registration(["projections", "verify", "all", "--json"]) == 0
    assert all(view["differences"] == [] for view in json.loads(capsys.readouterr().out))
    guest = sql(installation, "SELECT min(stream_id::text)::uuid FROM terms_due")
    sql(installation, f"DELETE FROM terms_due WHERE stream_id = '{guest}'")  # noqa: S608 - our own id
    assert registration(["projections", "verify", "terms_due"]) == 1
    output = capsys.readouterr()
    assert str(guest) in output.out
    assert "missing" in output.out
    assert output.err == (
        "registration: Different from the log: terms_due."
        " `registration projections rebuild NAME` repairs a view.\n"
    )
    assert registration(["projections", "rebuild", "terms_due", "--json"]) == 0
    (done,) = json.loads(capsys.readouterr().out)
    assert (done["view"], done["events"]) == ("terms_due", done["position"])
    assert registration(["projections", "verify", "terms_due"]) == 0


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("command", ["rebuild", "verify"])
def test_an_unknown_view_is_refused_in_one_line_that_names_the_known(command: str, capsys: Capture) -> None:
    assert registration(["projections", command, "nothing"]) == 1
    output = capsys.readouterr().err
    assert output.startswith("registration: There is no view nothing. The views are guest_directory, ")
    assert output.count("\n") == 1
    assert registration(["projections", command]) == 2


def test_an_event_that_cannot_be_digested_is_named(installation: str, capsys: Capture) -> None:
    assert sql(installation, "UPDATE stored_events SET state = 'x' WHERE notification_id = 1 RETURNING topic")
    assert registration(["projections", "rebuild", "contributions"]) == 1
    output = capsys.readouterr().err
    assert "at position 1 (registration.guest-registered, stream " in output
    assert output.endswith("Nothing was changed.\n")
    assert (
        sql(installation, "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_\\_%' AND relkind = 'r'")
        == 0
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_the_view_is_as_it_was_and_the_next_run_is_clean(
    installation: str, how: signal.Signals
) -> None:
    assert registration(["projections", "rebuild", "guest_directory"]) == 0
    before = sql(
        installation, "SELECT md5(string_agg(t::text, ',' ORDER BY stream_id)) FROM guest_directory t"
    )
    # A long read keeps the rebuild before its switch.
    asyncio.run(_interrupt_before_the_switch(installation, how))
    after = sql(
        installation, "SELECT md5(string_agg(t::text, ',' ORDER BY stream_id)) FROM guest_directory t"
    )
    assert before == after
    assert registration(["projections", "rebuild", "guest_directory"]) == 0
    assert (
        sql(installation, "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_\\_%' AND relkind = 'r'")
        == 0
    )


async def _interrupt_before_the_switch(database: str, how: signal.Signals) -> None:
    reader, watcher = await asyncpg.connect(database), await asyncpg.connect(database)
    try:
        async with reader.transaction():
            await reader.fetch("SELECT count(*) FROM guest_directory")
            process = await asyncio.create_subprocess_exec(
                Path(sys.executable).parent / "registration",
                *("projections", "rebuild", "guest_directory"),
                stderr=asyncio.subprocess.PIPE,
                # A shell starts what runs in its background with SIGINT ignored, and that is inherited.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )
            await eventually(partial(_is_waiting, watcher), within=20)
            process.send_signal(how)
            _, output = await process.communicate()
    finally:
        await reader.close()
        await watcher.close()
    assert process.returncode == (1 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert output == b"registration: Stopped. The live view was not changed.\n"


async def _is_waiting(watcher: asyncpg.Connection) -> bool:
    waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE guest_directory%'"
    return bool(await watcher.fetchval(waits))


def test_identity_has_the_same_commands(capsys: Capture) -> None:
    run: Callable[[list[str]], int] = partial(exit_code, identity_app, "identity")
    assert run(["projections", "list", "--json"]) == 0
    names = [view["name"] for view in json.loads(capsys.readouterr().out)]
    assert names == ["accounts", "links", "logins", "unused_accounts"]
