"""`registration guests export` and `guests find`: what they show, and that it is recorded (R20, R22)."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from registration.application.dependencies import Context
from registration.application.erase_guest import erase_personal_data
from registration.application.register_guest import register_guest
from registration.bootstrap import Replacements, Service, open_service, view_source
from registration.cli.guest_list import COLUMNS, DECRYPTED, PERSONAL
from registration.cli.main import app
from registration.domain.login_link import NewLoginAccount
from registration.domain.verdict import PatronDetails, Valid
from registration.read_models import VIEWS
from registration.settings import Settings
from shared.cli.running import exit_code
from shared.event_log import Metadata
from shared.kernel.text import harmless
from tests.support.projections import follow_all
from tests.support.registration import ListedAccounts, WatchedHomeLibraries, registering

CLERK = Context("1001", Metadata("m.visser", uuid4()))
FORMULA = PatronDetails("=HYPERLINK(1)", None, "+31 Brink 1", "@evil.example")
JAN = PatronDetails("J. Jansen", None, "Brink 1, Groningen", "jan@example.org")
SECRETS = ("0990139305", "0990139313", "HYPERLINK", "Jansen", "Brink", "evil")


@pytest.fixture
def guests(settings: Settings) -> list[UUID]:
    """Jan with a new account, one whose name is a formula, and one who was erased."""

    async def register() -> list[UUID]:
        home = WatchedHomeLibraries()
        for card, details in (("0990139305", JAN), ("0990139313", FORMULA), ("0990139321", JAN)):
            home.answers("NL-070288", card, Valid(details, None, card))
        replaced = Replacements(home_libraries=home, login_accounts=ListedAccounts())
        async with open_service(settings, replaced) as service:
            account = NewLoginAccount("jan.nieuw", "jan@example.org")
            ids = [
                (await register_guest(registering(card, choice), CLERK, service.deps)).resource_id
                for card, choice in (("0990139305", account), ("0990139313", None), ("0990139321", None))
            ]
            await erase_personal_data(ids[2], CLERK.metadata, service.deps)
            await follow_all(service, VIEWS, view_source(service.settings))
        return ids

    return asyncio.run(register())


def registration(*arguments: object) -> int:
    return exit_code(app, "registration", ["guests", *map(str, arguments), "--by", "beheer"])


def recorded(settings: Settings) -> list[dict[str, object]]:
    async def read(service: Service) -> list[dict[str, object]]:
        rows = await service.pool.fetch(
            "SELECT subject, organisation, kind, outcome, reason, ARRAY(SELECT guest_id FROM lookup_guests"
            " WHERE lookup_id = id) AS guests FROM lookups ORDER BY at"
        )
        return [dict(row) for row in rows]

    async def opened() -> list[dict[str, object]]:
        async with open_service(settings) as service:
            return await read(service)

    return asyncio.run(opened())


def test_r20_an_export_holds_nothing_personal_and_is_no_look_up(
    guests: list[UUID], settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "guests.csv"
    assert registration("export", file, "--organisation", "1001", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"guests": 2}
    text = file.read_text("utf-8")
    assert [secret for secret in SECRETS if secret in text] == []
    heading, *rows = csv.reader(text.splitlines())
    assert tuple(heading) == COLUMNS
    assert {row[0] for row in rows} == {str(guests[0]), str(guests[1])}
    assert {tuple(row[1:6]) for row in rows} == {("1001", "9453", "valid", "NL-070288", "346")}
    assert recorded(settings) == []
    assert registration("export", file, "--organisation", "1001") == 1
    assert "exists already" in capsys.readouterr().err
    assert registration("export", "-", "--organisation", "2002") == 0
    assert capsys.readouterr().out.splitlines() == [",".join(COLUMNS)]


def test_r22_personal_data_needs_a_reason_which_is_recorded_before_anything_is_written(
    guests: list[UUID], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("export", "-", "--organisation", "1001")
    for incomplete in (("--personal-data",), ("--reason", "verslag"), ("--personal-data", "--reason", " ")):
        assert registration(*asked, *incomplete) == 2
    assert capsys.readouterr().out == ""
    assert recorded(settings) == []
    assert registration(*asked, "--personal-data", "--reason", "brief aan alle gasten") == 0
    heading, *rows = csv.reader(capsys.readouterr().out.splitlines())
    assert tuple(heading) == (*COLUMNS, *PERSONAL, *DECRYPTED)
    personal = {row[0]: dict(zip(heading[len(COLUMNS) :], row[len(COLUMNS) :], strict=True)) for row in rows}
    assert personal[str(guests[0])] == {
        "card_number": "0990139305",
        "aliases": "",
        "name": "J. Jansen",
        "birth_date": "",
        "address": "Brink 1, Groningen",
        "email": "jan@example.org",
    }
    formula = personal[str(guests[1])]
    assert (formula["name"], formula["address"], formula["email"]) == (
        "'=HYPERLINK(1)",
        "'+31 Brink 1",
        "'@evil.example",
    )
    [export] = recorded(settings)
    assert (export["subject"], export["organisation"], export["kind"], export["reason"]) == (
        "beheer",
        "1001",
        "export",
        "brief aan alle gasten",
    )
    assert exit_code(app, "registration", ["lookups", "list", "--by", "beheer", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["reason"] == "brief aan alle gasten"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", " ="])
def test_no_cell_of_an_export_is_a_formula(sign: str) -> None:
    assert harmless(f"{sign}1+1").startswith("'")
    assert harmless("Jansen-Smit") == "Jansen-Smit"


@pytest.mark.parametrize("words", ["0990139305", "jansen", "jan.nieuw"])
def test_r22_a_guest_is_found_by_card_name_or_username_and_that_is_recorded(
    guests: list[UUID], settings: Settings, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    assert registration("find", words, "--organisation", "1001", "--json") == 0
    [found] = json.loads(capsys.readouterr().out)
    assert (found["guest_id"], found["name"], found["login_link"]) == (
        str(guests[0]),
        "J. Jansen",
        "pending",
    )
    assert registration("find", words, "--organisation", "2002") == 0
    assert capsys.readouterr().out == "No guest fits.\n"
    assert [(row["subject"], row["kind"], row["outcome"], row["guests"]) for row in recorded(settings)] == [
        ("beheer", "guests", "found", [guests[0]]),
        ("beheer", "guests", "none", []),
    ]


def test_find_is_limited_and_needs_words(
    guests: list[UUID],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert registration("find", " ", "--organisation", "1001") == 2
    assert registration("find", "jansen", "--organisation", "9999") == 1
    assert "There is no organisation 9999" in capsys.readouterr().err
    assert registration("find", "jan", "--organisation", "1001", "--username-at", "070288") == 1
    assert "This is not an ISIL code" in capsys.readouterr().err
    assert registration("find", "jan", "--organisation", "1001", "--username-at", "NL-070288") == 1
    assert "Identity, which knows the usernames, cannot be asked now" in capsys.readouterr().err
    monkeypatch.setenv("REGISTRATION_LOOKUPS_PER_MINUTE", "2")  # identity was not asked in vain
    assert registration("find", "jansen", "--organisation", "1001") == 0
    assert registration("find", "bakker", "--organisation", "1001") == 1
    assert "too many look-ups" in capsys.readouterr().err
