"""`registration lookups list|export`: who looked up a person, for operators; reading is recorded (R22)."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from registration.adapters.tables import SCHEMA
from registration.application.dependencies import Context, Lookup, LookupKind
from registration.bootstrap import lookups_of
from registration.cli.main import app
from registration.settings import Settings
from shared.cli.running import exit_code
from shared.event_log import Metadata
from shared.platform.postgres import open_pool
from tests.support.registration_service import CARD, HOME
from tests.support.servers import Databases

GUEST = UUID(int=7)
LOOKUPS = (
    ("1001", "m.visser", Lookup(LookupKind.SCAN, CARD, guest_ids=[GUEST])),
    ("1001", "=cmd()", Lookup(LookupKind.HOME_PATRON, CARD, HOME, "valid")),
    ("2002", "k.bakker", Lookup(LookupKind.GUESTS, "jansen", outcome="none")),
)


@pytest.fixture
def database(databases: Databases) -> str:
    return databases(scripts=SCHEMA)


@pytest.fixture(autouse=True)
def _recorded(settings: Settings) -> None:
    async def record() -> None:
        async with await open_pool(settings.database_url.get_secret_value(), min_size=1, max_size=1) as pool:
            for organisation, subject, lookup in LOOKUPS:
                await lookups_of(settings, pool).record(
                    lookup, Context(organisation, Metadata(subject, uuid4()))
                )

    asyncio.run(record())


def run(*arguments: str) -> int:
    return exit_code(app, "registration", ["lookups", *arguments])


@pytest.mark.parametrize(
    ("options", "subjects"),
    [
        ([], ["k.bakker", "=cmd()", "m.visser"]),
        (["--organisation", "1001"], ["=cmd()", "m.visser"]),
        (["--what", f" {CARD} "], ["=cmd()", "m.visser"]),
        (["--what", "Jansen"], ["k.bakker"]),
        (["--what", "JÁNSEN"], ["k.bakker"]),
        (["--guest", str(GUEST)], ["m.visser"]),
        (["--subject", "k.bakker", "--limit", "1"], ["k.bakker"]),
        (["--until", "2020-01-01"], []),
    ],
    ids=range(8),
)
def test_r22_look_ups_are_listed_the_newest_first(
    capsys: pytest.CaptureFixture[str], options: list[str], subjects: list[str]
) -> None:
    assert run("list", *options, "--by", "beheer", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["subject"] for each in found if each["kind"] != "reading"] == subjects
    assert run("list", *options) == 0
    text = capsys.readouterr().out
    assert CARD not in text
    assert ("No look-up fits." in text) is (not subjects)


def test_r22_reading_by_command_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--what", CARD, "--by", "beheer") == 0
    capsys.readouterr()
    assert run("list", "--subject", "beheer", "--by", "auditor", "--json") == 0
    [reading] = json.loads(capsys.readouterr().out)
    assert (reading["kind"], reading["outcome"], reading["organisation"]) == ("reading", "listed", "*")


def test_r22_look_ups_are_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lookups.csv"
    assert run("export", str(file), "--organisation", "1001", "--by", "beheer", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"lookups": 3}
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["subject"], row["kind"]) for row in rows] == [
        ("m.visser", "scan"),
        ("'=cmd()", "home-patron"),  # a spreadsheet must not take it for a formula
        ("beheer", "reading"),
    ]
    assert rows[0]["guest_ids"] == str(GUEST)

    assert run("export", str(file)) == 1
    assert "name a new file" in capsys.readouterr().err
    assert run("export", "-", "--format", "jsonl", "--guest", str(GUEST)) == 0
    [line, _reading] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["guest_ids"] == [str(GUEST)]
