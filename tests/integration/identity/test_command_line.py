"""The command `identity`, as an operator uses it: exit codes, one line on stderr, nothing half-written."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from identity.cli.main import app
from shared.cli.running import exit_code
from shared.event_log import ErasureLedger
from tests.support.identity import PERSON_REF_KEY
from tests.support.identity_service import settings_in
from tests.support.installation import put_into_environment
from tests.support.servers import Databases
from tests.support.tokens import Signer

HEADING = "account_id,username,email,home_isil,home_card_number"
JAN = "acc-jan,jan,jan@example.org,NL-070288,0990139305"


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database without any schema."""
    return databases()


@pytest.fixture
def configured(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The settings of an installation with an empty database."""
    settings = settings_in(tmp_path, database, Signer(tmp_path / "jwks.json"), PERSON_REF_KEY)
    put_into_environment(settings, monkeypatch)
    return database


def identity(*arguments: str) -> int:
    return exit_code(app, "identity", list(arguments))


def events_in(database: str) -> int:
    async def count() -> int:
        connection = await asyncpg.connect(database)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM stored_events"))
        finally:
            await connection.close()

    return asyncio.run(count())


@pytest.mark.usefixtures("configured")
def test_migrate_import_and_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert identity("migrate", "--json") == 0
    assert "identity_0001_usernames" in json.loads(capsys.readouterr().out)["ran"]
    assert identity("migrate") == 0

    file = tmp_path / "accounts.csv"
    file.write_text(f"{HEADING}\n{JAN}\n", "utf-8")
    capsys.readouterr()
    assert identity("accounts", "import", str(file), "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"opened": 1, "known": 0, "failed": {}}
    assert identity("accounts", "import", str(file)) == 0
    assert capsys.readouterr().out == "0 accounts opened, 1 known already.\n"

    assert identity("doctor", "--json") == 0  # registration is down: a warning only
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert {check["step"] for check in report["checks"] if not check["ok"]} == {"registration"}


def test_an_import_with_a_mistake_changes_nothing_and_names_the_line(
    configured: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert identity("migrate") == 0
    file = tmp_path / "accounts.csv"
    file.write_text(f"{HEADING}\n{JAN}\nacc-x,x,x@example.org,L-070288,1\nacc-y\n", "utf-8")
    capsys.readouterr()
    assert identity("accounts", "import", str(file)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "line 3" in captured.err
    assert "line 4" in captured.err
    assert "Nothing was changed" in captured.err
    assert events_in(configured) == 0


@pytest.mark.usefixtures("configured")
def test_r19_the_ledger_is_applied_as_often_as_one_likes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert identity("migrate") == 0
    asyncio.run(ErasureLedger(tmp_path / "ledger" / "identity.jsonl").note([uuid4(), uuid4()]))
    capsys.readouterr()
    for count in (2, 0):
        assert identity("erasures", "apply", "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"erased": count, "failed": {}}
    monkeypatch.delenv("IDENTITY_ERASURE_LEDGER")
    assert identity("erasures", "apply") == 1
    assert "IDENTITY_ERASURE_LEDGER is not set" in capsys.readouterr().err


@pytest.mark.usefixtures("configured")
def test_without_its_schema_a_command_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text(f"{HEADING}\n{JAN}\n", "utf-8")
    assert identity("accounts", "import", str(file)) == 1
    assert "identity migrate" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["accounts", "import"], ["nonsense"], ["accounts", "import", "/no/file"]]
)
def test_misuse_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert identity(*arguments) == 2
    assert capsys.readouterr().err.startswith("identity: ")


@pytest.mark.parametrize(
    "command",
    [[], ["serve"], ["work"], ["migrate"], ["doctor"], ["accounts", "import"], ["erasures", "apply"]],
)
def test_every_command_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert identity(*command, "--help") == 0
    assert "Example: " in capsys.readouterr().out
