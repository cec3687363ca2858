"""`events list|show|export|import` of both services, as an operator uses them."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.installation import Installation
from tests.support.servers import Databases, as_owner

Captured = pytest.CaptureFixture[str]
PERSONAL = ("J. Jansen", "jan@example.org", "0990139305")


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def output_of(installed: Installation, capsys: Captured, *arguments: str) -> str:
    """What a command that succeeds writes to standard output."""
    capsys.readouterr()
    assert installed.run(*arguments) == 0
    return capsys.readouterr().out


def refused(installed: Installation, capsys: Captured, *arguments: str) -> str:
    """The one line on standard error of a command that fails."""
    capsys.readouterr()
    assert installed.run(*arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"{installed.name}: ")
    return captured.err


def count_of(database: str, table: str) -> int:
    async def count() -> int:
        connection = await asyncpg.connect(database)
        try:
            return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608
        finally:
            await connection.close()

    return asyncio.run(count())


def test_moved_to_another_database_the_service_answers_as_before(
    installed: Installation, databases: Databases, tmp_path: Path, capsys: Captured
) -> None:
    before = installed.live()
    assert all(status in {200, 201, 404} for status, _ in before)
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    assert "events and" in output_of(installed, capsys, "events", "export", str(one))

    installed.use(databases())
    assert installed.run("migrate") == 0
    assert json.loads(output_of(installed, capsys, "events", "import", str(one), "--json"))["events"] > 3

    assert installed.answers() == before
    assert installed.run("events", "export", str(other)) == 0
    assert other.read_bytes() == one.read_bytes()


def test_list_shows_the_newest_or_from_a_position_on(installed: Installation, capsys: Captured) -> None:
    installed.live()
    events = lines_of(output_of(installed, capsys, "events", "list", "--json"))
    positions = [event["position"] for event in events]
    assert positions == list(range(1, len(events) + 1))
    newest = lines_of(output_of(installed, capsys, "events", "list", "--limit", "2", "--json"))
    assert newest == events[-2:]
    beyond = lines_of(
        output_of(installed, capsys, "events", "list", "--after", "1", "--limit", "2", "--json")
    )
    assert beyond == events[1:3]
    topic, stream = events[0]["topic"], events[0]["stream"]
    for wanted in (topic, topic.partition(".")[2]):
        listed = lines_of(output_of(installed, capsys, "events", "list", "--topic", wanted, "--json"))
        assert listed == [event for event in events if event["topic"] == topic]
    listed = lines_of(output_of(installed, capsys, "events", "list", "--stream", stream, "--json"))
    assert listed == [event for event in events if event["stream"] == stream]
    table = output_of(installed, capsys, "events", "list")
    assert all(event["topic"] in table for event in events)


def test_an_event_that_cannot_be_read_is_listed_and_shown_with_what_is_stored(
    installed: Installation, capsys: Captured
) -> None:
    installed.live()
    events = lines_of(output_of(installed, capsys, "events", "list", "--json"))
    spoiled = events[1]

    async def spoil() -> None:
        async with as_owner(installed.settings.database_url.get_secret_value()) as owner:
            await owner.execute(
                "UPDATE stored_events SET state = $1 WHERE notification_id = $2",
                b"\xff",
                spoiled["position"],
            )

    asyncio.run(spoil())
    spoiled["fields"] = {"unreadable": "JSONDecodeError", "state_base64": "/w=="}
    assert lines_of(output_of(installed, capsys, "events", "list", "--json")) == events
    assert "JSONDecodeError" in output_of(installed, capsys, "events", "show", spoiled["stream"])


def test_a_position_that_no_log_has_is_misuse(installed: Installation, capsys: Captured) -> None:
    assert installed.run("events", "list", "--after", str(2**63)) == 2
    assert "--after" in capsys.readouterr().err


def test_r19_show_has_who_when_and_why_and_keeps_personal_data_encrypted(
    installed: Installation, capsys: Captured
) -> None:
    installed.live()
    events = lines_of(output_of(installed, capsys, "events", "list", "--json"))
    with_personal_data = next(event for event in events if "encrypted" in event["fields"].values())
    shown = lines_of(output_of(installed, capsys, "events", "show", with_personal_data["stream"], "--json"))
    assert [event["version"] for event in shown] == list(range(1, len(shown) + 1))
    assert with_personal_data in shown
    text = output_of(installed, capsys, "events", "show", with_personal_data["stream"])
    for name in ("topic", "caused_by", "event_id", "correlation"):
        assert str(with_personal_data[name]) in text
    assert ": encrypted" in text
    assert not [personal for personal in PERSONAL if personal in text]


def test_show_of_no_stream_says_where_to_look(installed: Installation, capsys: Captured) -> None:
    unknown = "00000000-0000-0000-0000-000000000001"
    assert "events list" in refused(installed, capsys, "events", "show", unknown)


def test_an_export_is_for_its_owner_only_and_complete_or_not_there(
    installed: Installation, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.live()
    folder = tmp_path / "exports"
    folder.mkdir()
    file = folder / "log.jsonl"
    assert installed.run("events", "export", str(file)) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    assert not [personal for personal in PERSONAL if personal.encode() in before]

    async def breaks(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("shared.event_log.export.export_log", breaks)
    assert "the disk is full" in refused(installed, capsys, "events", "export", str(file))
    assert [each.name for each in folder.iterdir()] == ["log.jsonl"]
    assert file.read_bytes() == before
    assert "not a regular file" in refused(installed, capsys, "events", "export", os.devnull)
    assert "no folder" in refused(installed, capsys, "events", "export", str(folder / "none" / "log.jsonl"))


def test_through_a_pipe(
    installed: Installation,
    databases: Databases,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = installed.live()
    capsysbinary.readouterr()
    assert installed.run("events", "export", "-") == 0
    file = capsysbinary.readouterr().out
    assert file.count(b"\n") == len(file.splitlines()) > 3

    installed.use(databases())
    assert installed.run("migrate") == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file)))
    assert installed.run("events", "import", "-") == 0
    assert installed.answers() == before


def test_a_pipe_that_is_closed_is_one_line(installed: Installation) -> None:
    installed.live()
    reading, writing = os.pipe()
    os.close(reading)
    command = [str(Path(sys.executable).with_name(installed.name)), "events", "export", "-"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"{installed.name}: Standard output was closed before the export was complete. Export again.\n"
    )


def test_a_refused_file_is_one_line_and_changes_nothing(
    installed: Installation, databases: Databases, tmp_path: Path, capsys: Captured
) -> None:
    installed.live()
    file = tmp_path / "log.jsonl"
    assert installed.run("events", "export", str(file)) == 0
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    empty = databases()
    installed.use(empty)
    assert installed.run("migrate") == 0
    error = refused(installed, capsys, "events", "import", str(file))
    assert "line 3: " in error
    assert "Nothing was imported." in error
    assert count_of(empty, "stored_events") == count_of(empty, "data_keys") == 0


def test_a_log_in_use_is_not_overwritten(installed: Installation, tmp_path: Path, capsys: Captured) -> None:
    installed.live()
    file = tmp_path / "log.jsonl"
    assert installed.run("events", "export", str(file)) == 0
    error = refused(installed, capsys, "events", "import", str(file))
    assert "not empty" in error
    assert f"{installed.name} migrate" in error


def test_a_rotated_master_key_still_imports_its_old_exports(
    installed: Installation, databases: Databases, tmp_path: Path
) -> None:
    before = installed.live()
    file = tmp_path / "log.jsonl"
    assert installed.run("events", "export", str(file)) == 0
    keys: Path = installed.settings.master_key_file
    keys.write_text(base64.b64encode(b"n" * 32).decode() + "\n" + keys.read_text("ascii"), "ascii")
    installed.use(databases())
    assert installed.run("migrate") == 0
    assert installed.run("events", "import", str(file)) == 0
    assert installed.answers() == before


def test_r19_personal_data_is_opened_for_an_operator_only(
    installed: Installation, tmp_path: Path, capsys: Captured
) -> None:
    installed.live()
    file = tmp_path / "readable.jsonl"
    export = ("events", "export", str(file), "--decrypt")
    assert installed.variable("token") in refused(installed, capsys, *export)
    installed.carry(installed.signer.token(scope="counter operator"))
    assert "does not have the scope installation" in refused(installed, capsys, *export)
    installed.carry(installed.signer.token(scope="installation", exp=1))
    assert "it has expired" in refused(installed, capsys, *export)
    installed.carry("nonsense")
    assert "does not count" in refused(installed, capsys, *export)
    assert not file.exists()

    installed.carry(installed.signer.token(scope="operator installation accounts"))
    assert installed.run(*export) == 0
    readable = file.read_text("utf-8")
    assert "jan@example.org" in readable
    assert lines_of(readable)[0]["decrypted"] is True


def test_r19_a_decrypted_export_is_no_way_in(
    installed: Installation, databases: Databases, tmp_path: Path, capsys: Captured
) -> None:
    installed.live()
    file = tmp_path / "readable.jsonl"
    installed.carry(installed.signer.token(scope="installation"))
    assert installed.run("events", "export", str(file), "--decrypt") == 0
    installed.use(databases())
    assert installed.run("migrate") == 0
    assert "decrypted" in refused(installed, capsys, "events", "import", str(file))


@pytest.mark.parametrize(
    "arguments",
    [
        ["export"],
        ["export", "/"],
        ["import"],
        ["import", "/no/file"],
        ["show"],
        ["show", "nonsense"],
        ["list", "--after", "-1"],
        ["list", "--limit", "0"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_misuse_is_2(installed: Installation, arguments: list[str], capsys: Captured) -> None:
    capsys.readouterr()
    assert installed.run("events", *arguments) == 2
    assert capsys.readouterr().err.startswith(f"{installed.name}: ")


@pytest.mark.parametrize("command", ["list", "show", "export", "import"])
def test_every_command_has_an_example(installed: Installation, command: str, capsys: Captured) -> None:
    assert f"Example: {installed.name} events {command}" in output_of(
        installed, capsys, "events", command, "--help"
    )
