"""The command `registration`, as an operator uses it: exit codes, one line on stderr, nothing by half."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import structlog

from infra.local.ports import free_port
from registration.adapters.card_prefixes import COLUMNS, PostgresCardPrefixes
from registration.cli.main import app
from registration.domain.errors import Candidate
from registration.settings import Settings
from shared.cli.running import exit_code
from tests.support.servers import Databases

HEADING = ",".join(COLUMNS)
DELFT = "DOK,DOK Delft,NL-083559,2025-06-19,6100 6142"
DRENTHE = "D,Biblionet Drenthe,NL-070297,2025-06-19,6100 6450"


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database without any schema."""
    return databases()


def registration(*arguments: str) -> int:
    return exit_code(app, "registration", list(arguments))


def prefix_file(folder: Path, *lines: str) -> str:
    file = folder / "prefixes.csv"
    file.write_text("\n".join([HEADING, *lines, ""]), "utf-8")
    return str(file)


def candidates(database: str, prefix: str) -> list[Candidate]:
    """Which libraries a card with this prefix may come from now."""

    async def ask() -> list[Candidate]:
        async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
            return list(await PostgresCardPrefixes(pool).candidates([prefix]))

    return asyncio.run(ask())


@pytest.mark.usefixtures("settings")
def test_doctor_says_what_to_do_until_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert registration("doctor", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    [schema] = [check for check in report["checks"] if check["step"] == "schema"]
    assert (report["ok"], schema["ok"], schema["advice"]) == (False, False, "run `registration migrate`")

    assert registration("migrate", "--json") == 0
    assert "registration_0003_card_prefixes" in json.loads(capsys.readouterr().out)["ran"]
    assert registration("migrate") == 0
    assert capsys.readouterr().out == "The schema is up to date.\n"

    assert registration("doctor", "--json") == 0  # identity is down: a warning only
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert {check["step"] for check in report["checks"] if not check["ok"]} == {"identity"}
    assert registration("doctor") == 0
    table = capsys.readouterr().out
    assert "settings files" in table
    assert "warning" in table


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    "form",
    [
        "postgresql://registration:geheim@127.0.0.1:{}/registration",
        "postgresql://127.0.0.1:{}/registration?user=registration&password=geheim&connect_timeout=1",
    ],
)
def test_doctor_shows_settings_with_their_source_and_no_password(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = form.format(free_port())
    monkeypatch.setenv("REGISTRATION_DATABASE_URL", address)
    assert registration("doctor", "--json") == 1
    printed = capsys.readouterr().out
    assert "geheim" not in printed
    shown = {each["name"]: each for each in json.loads(printed)["settings"]}
    assert shown["REGISTRATION_DATABASE_URL"]["value"] == address.replace("geheim", "***")
    assert shown["REGISTRATION_DATABASE_URL"]["source"] == "environment"
    assert shown["REGISTRATION_AMQP_URL"]["source"] == "not set"


def test_doctor_names_the_mistake_in_the_file_of_home_libraries(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.home_libraries.write_text("[libraries.NL-070288]\nhost = 'a'\nport = 0\n", "utf-8")
    assert registration("doctor", "--json") == 1
    checks = {check["step"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    found = checks["settings files"]["found"]
    assert f"{settings.home_libraries}:3: libraries.NL-070288.port" in found
    assert "registration config check" in checks["settings files"]["advice"]


@pytest.mark.usefixtures("settings")
def test_doctor_prints_nothing_but_json_when_a_check_also_logs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    structlog.reset_defaults()  # as in a new process
    monkeypatch.setenv("REGISTRATION_OIDC_JWKS", "/no/keys.json")
    assert registration("doctor", "--json") == 1
    checks = {check["step"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert "cannot be read" in checks["sign-in keys"]["found"]


def test_r2_an_import_replaces_the_whole_table_of_prefixes(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = settings.database_url.get_secret_value()
    assert registration("migrate") == 0
    assert candidates(database, "8447") != []
    capsys.readouterr()
    assert registration("isil", "import", prefix_file(tmp_path, DELFT, DRENTHE), "--json") == 0
    assert json.loads(capsys.readouterr().out)["prefixes"] == 4
    assert candidates(database, "8447") == []
    assert [each.isil for each in candidates(database, "6100")] == ["NL-070297", "NL-083559"]
    assert registration("isil", "import", prefix_file(tmp_path, DELFT), "--check") == 0
    assert capsys.readouterr().out == "2 card prefixes would be imported.\nremoved: NL-070297\n"
    assert registration("isil", "import", prefix_file(tmp_path, DELFT), "--by", "a.bakker") == 0
    assert capsys.readouterr().out == "2 card prefixes imported.\nremoved: NL-070297\n"
    assert [each.isil for each in candidates(database, "6100")] == ["NL-083559"]
    assert registration("isil", "imports", "--json") == 0
    last, first = json.loads(capsys.readouterr().out)
    assert (last["by"], last["prefixes"], last["removed"]) == ("a.bakker", 2, ["NL-070297"])
    assert (first["prefixes"], "NL-070297" in first["removed"]) == (4, False)


@pytest.mark.parametrize(
    ("line", "report"),
    [
        ("DOK,DOK Delft,L-083559,2025-06-19,6100", "'L-083559' is not an ISIL"),
        ("DOK,DOK Delft,NL-083559,19-06-2025,6100", "updated_on '19-06-2025' is not a date"),
        ("DOK,DOK Delft,NL-083559,2025-06-19,610", "'610' is not a card prefix"),
        ("DOK,DOK Delft,NL-083559,2025-06-19", "4 columns; there must be 5"),
        (DRENTHE, "NL-070297 is already on line 2"),
    ],
)
def test_r2_an_import_with_a_mistake_names_its_line_and_changes_nothing(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, report: str
) -> None:
    database = settings.database_url.get_secret_value()
    assert registration("migrate") == 0
    before = candidates(database, "6100")
    capsys.readouterr()
    assert registration("isil", "import", prefix_file(tmp_path, DRENTHE, line)) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert f"line 3: {report}" in captured.err
    assert captured.err.endswith("Nothing was changed.\n")
    assert candidates(database, "6100") == before


@pytest.mark.usefixtures("settings")
def test_without_its_schema_a_command_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert registration("isil", "import", prefix_file(tmp_path, DELFT)) == 1
    assert registration("guests", "check", str(uuid4())) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("run `registration migrate`" in line for line in said)


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("command", [["migrate"], ["doctor"], ["guests", "check", str(uuid4())], ["serve"]])
def test_a_missing_setting_is_reported_by_its_name_and_what_to_do(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGISTRATION_DATABASE_URL")
    assert registration(*command) == 1
    captured = capsys.readouterr()
    assert "REGISTRATION_DATABASE_URL is not set" in captured.out + captured.err
    if command != ["doctor"]:
        assert captured.err == (
            "registration: REGISTRATION_DATABASE_URL is not set. Set it in the environment,"
            " or set RUN_DIR to the folder of a running local stack.\n"
        )


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("command", [["migrate"], ["guests", "check", str(uuid4())]])
def test_a_database_that_is_down_is_reported_in_one_line(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRATION_DATABASE_URL", f"postgresql://127.0.0.1:{free_port()}/registration")
    assert registration(*command) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "`registration doctor`" in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["migrate", "now"],
        ["isil", "import"],
        ["isil", "import", "/no/file"],
        ["isil", "import", "/"],
        ["guests", "check"],
        ["guests", "check", "0990139305"],
    ],
)
def test_misuse_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert registration(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("registration: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith(" --help`.\n")


@pytest.mark.parametrize(
    "command",
    [[], ["serve"], ["work"], ["migrate"], ["doctor"], ["isil", "import"], ["guests", "check"]],
)
def test_every_command_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert registration(*command, "--help") == 0
    assert "Example: " in capsys.readouterr().out
