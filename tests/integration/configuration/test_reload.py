"""Changed files of settings: checked, taken by every process, in the record; a bad file changes nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from identity.adapters import configuration as identity
from registration.adapters import configuration as registration
from shared.configuration import ConfigurationRecord, Follower, Live
from shared.configuration.files import SettingsFile
from shared.configuration.operating import FilesInUse, NotInUse
from shared.configuration.record import Taken
from shared.kernel.toml_file import Mistakes
from shared.platform.postgres import open_pool
from tests.support.eventually import eventually
from tests.support.installation import Installation

BEFORE = '[organisations.1001]\nname = "Drenthe"\nisils = ["NL-070297"]\n'
AFTER = BEFORE.replace("Drenthe", "Biblionet Drenthe") + '[organisations.2002]\nname = "Delft"\n'
BAD = '[organisations.1001]\nname = "Drenthe"\nisils = ["NL-07"]\nstrip = true\n'
READERS: dict[str, Callable[[Any], Live[Any]]] = {
    "registration": registration.live_configuration,
    "identity": identity.live_configuration,
}
FILES: dict[str, Callable[[Any], Mapping[str, SettingsFile]]] = {
    "registration": registration.settings_files,
    "identity": identity.settings_files,
}


def organisations(installed: Installation, text: str) -> Path:
    path: Path = installed.settings.organisations
    path.write_text(text, "utf-8")
    return path


@asynccontextmanager
async def following(installed: Installation, kind: str) -> AsyncIterator[tuple[Live[Any], Follower[Any]]]:
    """What a process of the service does about its files."""
    url = installed.settings.database_url.get_secret_value()
    async with await open_pool(url, min_size=1, max_size=2) as pool:
        live = READERS[installed.name](installed.settings)
        follower = Follower(live, ConfigurationRecord(pool), kind)
        await follower.step()
        running = asyncio.create_task(follower.run())
        try:
            yield live, follower
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def command(installed: Installation, *arguments: str) -> int:
    return await asyncio.to_thread(installed.run, "config", *arguments)


def known(live: Live[Any]) -> set[str]:
    value = live.now.value
    return set(getattr(value, "organisations", None) or value.isils)


async def test_every_running_process_takes_the_files_and_the_record_says_who_changed_what(
    installed: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    organisations(installed, BEFORE)
    async with (
        following(installed, "api") as (api, first),
        following(installed, "worker") as (worker, second),
    ):
        kept = worker.now
        organisations(installed, AFTER)
        assert known(api) == {"1001"}, "nothing counts before it was asked for"
        capsys.readouterr()
        assert (
            await command(installed, "reload", "--reason", "Delft doet mee", "--by", "femke", "--json") == 0
        )
        done = json.loads(capsys.readouterr().out)
        assert done["complete"]
        assert done["reload"]["digest"] == api.now.digest
        assert {outcome["process"] for outcome in done["outcomes"]} == {first.process, second.process}
        assert {outcome["state"] for outcome in done["outcomes"]} == {"taken"}
        assert known(api) == known(worker) == {"1001", "2002"}
        assert worker.now is not kept
        assert known_in(kept) == {"1001"}, "who still holds the old settings ends with them"

        await the_record_says_so(installed, capsys, api.now.digest)
        assert await command(installed, "status") == 0
        assert first.process in capsys.readouterr().out
        assert await command(installed, "reload", "--reason", "once more") == 0
        assert len(await changes_of(installed)) == 2, "the same files are no change"
    assert await processes_of(installed) == [], "a process that ends says so"


async def the_record_says_so(
    installed: Installation, capsys: pytest.CaptureFixture[str], digest: str
) -> None:
    assert await command(installed, "changes", "--json") == 0
    change, begin = json.loads(capsys.readouterr().out)
    assert (change["taken_by"], change["reason"]) == ("femke", "Delft doet mee")
    assert change["digest"] == digest
    assert begin["differences"] == []
    assert change["differences"] == [
        {
            "kind": "changed",
            "where": "organisations.1001.name",
            "before": "Drenthe",
            "after": "Biblionet Drenthe",
        },
        {"kind": "added", "where": "organisations.2002", "before": None, "after": None},
    ]
    assert await command(installed, "changes") == 0
    assert "changed organisations.1001.name: Drenthe → Biblionet Drenthe" in capsys.readouterr().out


def known_in(loaded: Any) -> set[str]:
    return set(getattr(loaded.value, "organisations", None) or loaded.value.isils)


async def changes_of(installed: Installation) -> list[Any]:
    async with await _pool(installed) as pool:
        return await ConfigurationRecord(pool).changes(100)


async def processes_of(installed: Installation) -> list[Any]:
    async with await _pool(installed) as pool:
        return await ConfigurationRecord(pool).processes()


async def _pool(installed: Installation) -> asyncpg.Pool:
    return await open_pool(installed.settings.database_url.get_secret_value(), min_size=1, max_size=1)


async def test_a_bad_file_changes_nothing_and_says_where(
    installed: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    path = organisations(installed, BEFORE)
    assert await command(installed, "check") == 0
    assert f"{path}: valid" in capsys.readouterr().out
    async with following(installed, "api") as (live, follower), await _pool(installed) as pool:
        used = live.now
        organisations(installed, BAD)
        assert await command(installed, "check") == 1
        out = capsys.readouterr().out
        assert f"{path}:3: organisations.1001.isils.0: must be an ISIL" in out
        assert f"{path}:4: organisations.1001.strip: no such key" in out
        assert await command(installed, "reload", "--reason", "x") == 1
        errors = capsys.readouterr().err
        assert f"{path}:3:" in errors
        assert "Nothing was changed." in errors
        assert await pool.fetchval("SELECT count(*) FROM configuration_reloads") == 0

        # Also when only this process has the bad file, as on another machine.
        asked = await ConfigurationRecord(pool).ask("femke", "x", "the digest of good files elsewhere")
        await eventually(lambda: reload_of(pool, follower.process, asked.id))
        assert live.now is used
        [process] = await ConfigurationRecord(pool).processes()
        assert process.failure is not None
        assert f"{path}:3: organisations.1001.isils.0" in process.failure
        assert process.digest == used.digest
        files = FilesInUse(pool, lambda: FILES[installed.name](installed.settings))
        with pytest.raises(Mistakes):
            await files.require_used()
        organisations(installed, BEFORE)
        with pytest.raises(NotInUse, match=r":3: organisations\.1001"):
            await files.require_used()
        done = await files.reload("femke", "repaired", 10)
        assert [outcome.state for outcome in done.outcomes] == ["taken"]
        assert "1 processes use" in await files.require_used()
    assert len(await changes_of(installed)) == 1


async def reload_of(pool: asyncpg.Pool, process: str, reload: int) -> bool:
    running = {state.process: state for state in await ConfigurationRecord(pool).processes()}
    return process in running and running[process].reload >= reload


async def test_a_process_with_another_file_and_one_that_is_silent_are_named(
    installed: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.cli.config.WAIT_SECONDS", 2.0)
    monkeypatch.setattr("shared.configuration.follower.LOOK_EVERY_SECONDS", 0.2)
    organisations(installed, BEFORE)
    async with following(installed, "api") as (live, follower), await _pool(installed) as pool:
        silent = Taken("worker-far-away", "worker", "0" * 64, live.loaded_at, 0, None)
        await ConfigurationRecord(pool).store(silent)
        old, read = live.now, live.read
        monkeypatch.setattr(live, "read", lambda: old)  # another machine, whose file is the one of before
        organisations(installed, AFTER)
        capsys.readouterr()
        assert await command(installed, "reload", "--reason", "x", "--json") == 1
        done = json.loads(capsys.readouterr().out)
        states = {outcome["process"]: outcome["state"] for outcome in done["outcomes"]}
        assert states == {follower.process: "other", "worker-far-away": "silent"}
        monkeypatch.setattr(live, "read", read)


async def test_sighup_makes_this_process_take_its_files(installed: Installation) -> None:
    organisations(installed, BEFORE)
    async with following(installed, "worker") as (live, follower):
        await asyncio.sleep(0)
        organisations(installed, BAD)
        signal.raise_signal(signal.SIGHUP)
        await eventually(lambda: failure_of(installed))
        assert known(live) == {"1001"}
        organisations(installed, AFTER)
        signal.raise_signal(signal.SIGHUP)
        await eventually(lambda: known(live) == {"1001", "2002"})
        change, _ = await changes_of(installed)
        assert change.taken_by == f"SIGHUP to {follower.process}"


async def failure_of(installed: Installation) -> bool:
    return any(process.failure for process in await processes_of(installed))


async def test_of_many_processes_that_take_a_change_at_once_one_records_it(installed: Installation) -> None:
    organisations(installed, BEFORE)
    async with following(installed, "api") as (live, _):
        organisations(installed, AFTER)
        loaded = live.read()
        url = installed.settings.database_url.get_secret_value()
        async with await open_pool(url, min_size=8, max_size=8) as pool:
            record = ConfigurationRecord(pool)
            found = await asyncio.gather(
                *(
                    record.record(loaded.settings, loaded.digest, by="x", reason="x", process=str(number))
                    for number in range(8)
                )
            )
        assert [changed is None for changed in found].count(False) == 1
