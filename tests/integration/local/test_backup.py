"""What `infra.backup` keeps, deletes and refuses. Real backups are in tests/acceptance/test_restored.py."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.backup.__main__ import NAME, main
from infra.local.postgres import binary

NOW = datetime.now(UTC)
SEGMENTS = tuple(f"0000000100000000000000{number:02X}" for number in range(1, 6))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four base backups, of 40, 20, 10 and 1 days ago, each beginning one segment after the other."""
    monkeypatch.setenv("PATH", f"{Path(binary('psql')).parent}:{os.environ['PATH']}")
    made = tmp_path / "backup"
    (made / "wal").mkdir(parents=True)
    for segment in SEGMENTS:
        (made / "wal" / segment).touch()
    for days, segment in zip((40, 20, 10, 1), SEGMENTS, strict=False):
        base = made / "base" / (NOW - timedelta(days=days)).strftime(NAME)
        base.mkdir(parents=True)
        (base / "backup_label").write_text(f"START WAL LOCATION: 0/1000028 (file {segment})\n")
        (base / "postgresql.auto.conf").write_text("synchronous_standby_names = '*'\n")
    return made


def test_what_is_older_goes_but_the_first_days_of_the_period_can_still_be_restored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["expire", str(folder), "--days", "15"])
    assert capsys.readouterr().out == f"deleted: {(NOW - timedelta(days=40)).strftime(NAME)}\n"
    left = sorted(path.name for path in (folder / "base").iterdir())
    assert left == [(NOW - timedelta(days=days)).strftime(NAME) for days in (20, 10, 1)]
    assert sorted(path.name for path in (folder / "wal").iterdir()) == list(SEGMENTS[1:])
    main(["expire", str(folder), "--days", "15"])
    assert capsys.readouterr().out == "deleted: nothing\n"


def test_a_restore_begins_with_the_last_base_backup_before_the_moment_and_waits_for_no_standby(
    folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "restored"
    moment = (NOW - timedelta(days=12)).isoformat()
    main(["restore", str(folder), str(data), "--to", moment])
    assert SEGMENTS[1] in (data / "backup_label").read_text()
    settings = (data / "postgresql.auto.conf").read_text()
    assert settings.endswith(f"recovery_target_time = '{moment}'\n")
    assert settings.rindex("synchronous_standby_names = ''") > settings.index(
        "synchronous_standby_names = '*'"
    )
    assert (data / "recovery.signal").exists()
    assert data.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("restore", "{folder}", "{new}", "--to", "2020-01-01 00:00:00+00:00"),
            "no base backup that ended before",
        ),
        (("restore", "{folder}", "{folder}", "--to", "latest"), "is not empty: name a new folder"),
        (("base", "{new}"), "pg_basebackup failed: .*127.0.0.1"),
    ],
)
def test_what_cannot_be_done_is_said(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises(SystemExit, match=said):
        main([each.format(folder=folder, new=tmp_path / "new") for each in arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("restore", "a", "b", "--to", "2026-11-29 02:00:00"), "a moment with its zone"),
        (("restore", "a", "b", "--to", "yesterday"), "a moment with its zone"),
        (("expire", "a", "--days", "0"), "1 or more"),
    ],
)
def test_what_would_be_another_moment_than_meant_is_refused(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
    assert said in capsys.readouterr().err
