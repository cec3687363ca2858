"""Identity with a directory that nobody here wrote: logins, the check command, wrong settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from identity.adapters.tables import SCHEMA
from identity.cli.main import app
from shared.cli.running import exit_code
from tests.support.account_directories import (
    HOME,
    JAN,
    LOCKED,
    ODD,
    SlapdWithAccounts,
    canaille_file,
    canaille_with_accounts,
    slapd_file,
)
from tests.support.identity import PERSON_REF_KEY
from tests.support.identity_service import open_identity_app, settings_in
from tests.support.installation import put_into_environment
from tests.support.peers.canaille import Canaille
from tests.support.servers import Databases
from tests.support.tokens import Signer


@pytest.fixture(scope="module")
def server() -> Iterator[Canaille]:
    with canaille_with_accounts() as started:
        yield started


def identity(*arguments: str) -> int:
    return exit_code(app, "identity", list(arguments))


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Settings without a directory. The check command needs no database."""
    signer = Signer(tmp_path / "jwks.json")
    put_into_environment(
        settings_in(tmp_path, "postgresql://identity@127.0.0.1:9/x", signer, PERSON_REF_KEY), monkeypatch
    )
    return monkeypatch


def test_the_check_of_canaille_shows_every_question(
    server: Canaille, tmp_path: Path, configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured.setenv("IDENTITY_ACCOUNT_DIRECTORY", str(canaille_file(server, tmp_path)))
    assert identity("accounts", "check-directory", "Jan.Jansen", HOME, "--json") == 0
    steps = json.loads(capsys.readouterr().out)
    assert [step["step"] for step in steps] == [
        "by username",
        "nobody's username",
        "by id",
        "several at once",
    ]
    assert all(step["ok"] for step in steps)

    assert identity("accounts", "check-directory", LOCKED.username, HOME) == 1
    shown = capsys.readouterr().out
    assert "no active account" in shown
    assert "connect-an-account-directory.md" in shown


def test_a_client_that_gets_no_token_makes_nobody_unknown(
    server: Canaille, tmp_path: Path, configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured.setenv("IDENTITY_ACCOUNT_DIRECTORY", str(canaille_file(server, tmp_path)))
    (tmp_path / "client-secret").write_text("another secret")
    assert identity("accounts", "check-directory", JAN.username, HOME) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "no token: the sign-in service answered invalid_client" in shown
    assert "another secret" not in shown


def test_the_check_of_slapd_shows_no_personal_data(
    tmp_path: Path, configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with SlapdWithAccounts(tmp_path) as host:
        file = slapd_file(host, tmp_path)
        configured.setenv("IDENTITY_ACCOUNT_DIRECTORY", str(file))
        assert identity("accounts", "check-directory", JAN.username, HOME) == 0
        shown = capsys.readouterr().out
        assert JAN.account_id in shown
        for private in (JAN.username, JAN.email, JAN.home_card_number or ""):
            assert private not in shown
        file.write_text(file.read_text().replace('"employeeNumber"', '"telephoneNumber"'))
        assert identity("accounts", "check-directory", JAN.username, HOME) == 1
        assert "no attribute telephoneNumber" in capsys.readouterr().out
    assert identity("accounts", "check-directory", JAN.username, HOME) == 1, "slapd has stopped"
    assert "WRONG" in capsys.readouterr().out


def test_the_check_needs_a_directory_and_an_isil(
    configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert identity("accounts", "check-directory", "jan", HOME) == 1
    assert "IDENTITY_ACCOUNT_DIRECTORY" in capsys.readouterr().err
    assert identity("accounts", "check-directory", "jan", "elsewhere") == 2


async def test_logins_with_accounts_of_canaille_and_try_again_without_it(
    databases: Databases, tmp_path: Path
) -> None:
    with canaille_with_accounts() as server:
        file = canaille_file(server, tmp_path)
        async with open_identity_app(
            databases(scripts=SCHEMA), tmp_path, account_directory=file
        ) as identity_app:
            async with identity_app.client() as wisecat:

                async def status(account_id: str) -> tuple[int, str]:
                    body = {"account_id": account_id, "organisation": "2002"}
                    reply = await wisecat.post("/v1/logins", json=body)
                    assert reply.status_code != 503 or int(reply.headers["Retry-After"]) > 0
                    return reply.status_code, reply.json().get("code") or reply.json()["outcome"]

                assert await status(JAN.account_id) == (200, "recognised")
                assert await status("acc-nobody") == (404, "account-not-found")
                assert await status(LOCKED.account_id) == (404, "account-not-found")
                server.server.stop()
                assert await status(JAN.account_id) == (200, "recognised"), "it is in identity's own store"
                for _ in range(7):
                    assert await status(ODD.account_id) == (503, "account-directory-unavailable")
            async with identity_app.client("accounts", "operator") as operator:
                query = {"username": ODD.username, "home_isil": HOME}
                assert (await operator.get("/v1/login-accounts", params=query)).status_code == 503


SCIM = """
[directory]
kind = "scim"
url = "https://directory.example/scim"
token_file = "token"

[directory.attributes]
account_id = "id"
username = "userName"
email = "emails.value"
home_card = "externalId"
"""
LDAP = """
[directory]
kind = "ldap"
url = "ldap://directory.example"
starttls = true
base = "dc=example"

[directory.attributes]
account_id = "entryUUID"
username = "uid"
email = "mail"
library = "NL-070288"
home_card_number = "employeeNumber"
"""


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (SCIM.replace("scim", "soap"), "directory"),
        (SCIM.replace("https:", "http:"), "url"),
        (SCIM.replace("https:", "ldaps:"), "url"),
        (SCIM.replace('"token"', '"other"'), "token_file: there is no file"),
        (SCIM.replace("token_file", "bearer"), "directory"),
        (SCIM.replace('token_file = "token"', ""), "token_file or client_credentials"),
        (SCIM.replace("home_card =", "home_isil ="), "home_isil and home_card_number"),
        (SCIM.replace('username = "userName"', ""), "attributes.username"),
        (LDAP.replace("starttls = true", ""), "use TLS"),
        (LDAP.replace("ldap:", "ldaps:"), "starttls"),
        (LDAP.replace("ldap:", "http:"), "url"),
        (LDAP.replace("starttls", 'bind_dn = "cn=x"\nstarttls'), "bind_dn and password_file"),
        (LDAP.replace("starttls", 'filter = "(uid=x"\nstarttls'), "directory.filter"),
        (LDAP.replace("starttls", 'ca_file = "none.pem"\nstarttls'), "ca_file"),
        (LDAP.replace("NL-070288", "elsewhere"), "ISIL"),
        ("[directory", "not valid TOML"),
        ("", "directory"),
    ],
)
def test_settings_that_are_wrong_say_where(
    text: str,
    where: str,
    tmp_path: Path,
    configured: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "token").write_text("geheim")
    (tmp_path / "directory.toml").write_text(text, "utf-8")
    configured.setenv("IDENTITY_ACCOUNT_DIRECTORY", str(tmp_path / "directory.toml"))
    assert identity("accounts", "check-directory", "jan", HOME) == 1
    error = capsys.readouterr().err
    assert where in error
    assert error.count("\n") == 1
    assert "geheim" not in error


def test_one_directory_is_asked_and_not_two(
    tmp_path: Path, configured: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "directory.toml").write_text('[directory]\nkind = "http"\nurl = "http://127.0.0.1:9"\n')
    configured.setenv("IDENTITY_ACCOUNT_DIRECTORY", str(tmp_path / "directory.toml"))
    assert identity("accounts", "check-directory", "jan", HOME) == 1
    assert "ConnectError" in capsys.readouterr().out
    configured.setenv("IDENTITY_ACCOUNT_DIRECTORY_URL", "http://127.0.0.1:9")
    assert identity("accounts", "check-directory", "jan", HOME) == 1
    assert "not both" in capsys.readouterr().err
