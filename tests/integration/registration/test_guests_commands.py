"""`registration guests show` and `guests erase`, as an operator uses them (R19)."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import typer

from registration.adapters.tables import SCHEMA
from registration.application.dependencies import Context
from registration.application.erase_guest import erase_personal_data
from registration.application.register_guest import register_guest
from registration.bootstrap import Replacements, open_service, worker_tasks
from registration.cli.main import app
from registration.domain.guest import Guest
from registration.domain.login_link import NewLoginAccount
from registration.settings import Settings
from shared.cli.running import exit_code
from shared.event_log import ErasureLedger, Metadata
from tests.support.eventually import eventually
from tests.support.installation import put_into_environment
from tests.support.registration import ListedAccounts, WatchedHomeLibraries, member, registering
from tests.support.registration_service import CARD, HOME, settings_in
from tests.support.servers import migrated
from tests.support.tokens import Signer

PERSONAL = (CARD, "Jansen", "1980-02-03", "Brink 1", "jan@example.org", "jan.nieuw")
CLERK = Context("1001", Metadata("m.visser", uuid4()))


@pytest.fixture
def settings(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of an installation, also in the environment."""
    made = settings_in(tmp_path, database, Signer(tmp_path / "jwks.json"))
    put_into_environment(made, monkeypatch)
    return made


@pytest.fixture
def guest_id(settings: Settings) -> UUID:
    """A guest with everything personal that a guest can have."""

    async def register() -> UUID:
        await migrated(settings.database_url.get_secret_value(), SCHEMA)
        home = WatchedHomeLibraries()
        home.answers(HOME, CARD, member())
        requested = NewLoginAccount("jan.nieuw", "jan@example.org")
        async with open_service(
            settings, Replacements(home_libraries=home, login_accounts=ListedAccounts())
        ) as service:
            return (await register_guest(registering(CARD, requested), CLERK, service.deps)).resource_id

    return asyncio.run(register())


def registration(*arguments: object) -> int:
    return exit_code(app, "registration", [str(each) for each in arguments])


def test_r19_all_personal_data_is_shown_when_asked_for(
    guest_id: UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    assert registration("guests", "show", guest_id, "--personal-data") == 0
    shown = capsys.readouterr().out
    assert [each for each in PERSONAL if each not in shown] == []
    assert "guest-registered" in shown
    assert "m.visser" in shown
    assert registration("guests", "show", guest_id, "--personal-data", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["guest"]["details"]["birth_date"] == "1980-02-03"
    row = report["guest"]["contributions"][0]
    assert (row["subscription_code"], row["status"]) == ("346", "Normaal")
    assert set(row) == {"organisation", "branch", "subscription_code", "begin", "end", "status"}
    assert set(report["guest"]["login_link"]) == {"state", "account_id", "reason"}
    assert report["guest"]["login_link"]["state"] == "pending"
    assert report["history"][0]["personal_data"]["new_account"]["username"] == "jan.nieuw"
    assert set(report["history"][0]) == {"what", "at", "by", "reason", "personal_data"}


def test_r19_without_being_asked_for_nothing_personal_is_shown(
    guest_id: UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ([], ["--json"]):
        assert registration("guests", "show", guest_id, *option) == 0
        shown = capsys.readouterr().out
        assert "Normaal" in shown
        assert [each for each in PERSONAL if each in shown] == []


def test_r19_after_the_erasure_no_personal_data_is_left(
    guest_id: UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    assert registration("guests", "erase", guest_id, "--yes", "--by", "beheer") == 0
    assert registration("guests", "erase", guest_id, "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"guest_id": str(guest_id), "erased": True}
    assert registration("guests", "show", guest_id, "--personal-data") == 0
    shown = capsys.readouterr().out
    assert "No personal data is stored." in shown
    assert "beheer" in shown
    assert "Persoonsgegevens gewist" in shown
    assert [each for each in PERSONAL if each in shown] == []


def status_of(guest_id: UUID, settings: Settings) -> str:
    async def read() -> str:
        async with open_service(settings) as service:
            guest = await service.deps.store.load(Guest, guest_id)
            return guest.state.status.value

    return asyncio.run(read())


def test_r19_without_a_terminal_it_must_be_said_that_it_is_meant(
    guest_id: UUID, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert registration("guests", "erase", guest_id) == 2
    assert "--yes" in capsys.readouterr().err
    assert status_of(guest_id, settings) == "valid"


@pytest.mark.parametrize(("answer", "code", "status"), [(False, 1, "valid"), (True, 0, "erased")])
def test_r19_at_a_terminal_it_is_asked_once_more(
    *,
    guest_id: UUID,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    answer: bool,
    code: int,
    status: str,
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda question: answer and str(guest_id) in question)
    assert registration("guests", "erase", guest_id) == code
    assert status_of(guest_id, settings) == status


@pytest.mark.usefixtures("guest_id")
@pytest.mark.parametrize("command", [["erase", "--yes"], ["show"]])
def test_r19_a_guest_who_is_not_there(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    nobody = uuid4()
    assert registration("guests", *command, nobody) == 1
    assert capsys.readouterr().err == (
        f"registration: There is no guest {nobody}."
        " At the counter, the address of a guest's page ends with the id.\n"
    )


@pytest.mark.parametrize("command", [["guests", "show"], ["guests", "erase"], ["erasures", "apply"]])
def test_every_command_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert registration(*command, "--help") == 0
    assert "Example: " in capsys.readouterr().out


def test_r19_the_ledger_erases_guests_that_a_restored_backup_brought_back(
    guest_id: UUID, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(ErasureLedger(settings.erasure_ledger).note([guest_id]))
    assert registration("erasures", "apply", "--by", "beheer") == 0
    assert capsys.readouterr().out == "Subjects whose personal data was erased again: 1.\n"
    assert status_of(guest_id, settings) == "erased"
    assert registration("erasures", "apply", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"erased": 0, "failed": {}}


async def test_r19_the_worker_applies_the_ledger_at_its_start(settings: Settings) -> None:
    await migrated(settings.database_url.get_secret_value(), SCHEMA)
    home = WatchedHomeLibraries()
    home.answers(HOME, CARD, member())
    async with open_service(settings, Replacements(home_libraries=home)) as service:
        deps = service.deps
        erased = (await register_guest(registering(), CLERK, deps)).resource_id
        await deps.erasure_ledger.note([erased])
        working = asyncio.ensure_future(worker_tasks(service)["erasures"]())
        await eventually(service.log.erasures)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        assert await deps.data_keys.get(erased) is None
        again = await erase_personal_data(erased, CLERK.metadata, deps)
        assert again.position == await service.log.position()
