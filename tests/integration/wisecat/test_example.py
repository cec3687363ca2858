"""The example of the page for makers of catalogues does what the page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from infra.local.credentials import CATALOGUE_ID
from shared.platform.http_client import HttpClient
from tests.integration.wisecat.conftest import Catalogue, open_catalogue
from tests.support.both_services import JAN, OTHER_CARD, existing
from tests.support.servers import Databases

PAGE = Path(__file__).parents[3] / "docs" / "integrate-a-catalogue.md"


async def test_i11_the_example_logs_a_patron_in_and_out(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)

    def example(catalogue: Catalogue, _http: HttpClient) -> Starlette:
        given = {
            "ADDRESS": catalogue.address,
            "ORGANISATION": "1001",
            "IDENTITY_URL": catalogue.identity_url,
            "TOKEN": catalogue.token,
            "CLIENT_ID": CATALOGUE_ID,
            "ISSUER": catalogue.accounts.url,
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        defined: dict[str, Any] = {}
        exec(compile(code, str(PAGE), "exec"), defined)  # noqa: S102 - our own page
        app: Starlette = defined["app"]
        return app

    async with open_catalogue(databases, tmp_path, example) as catalogue:
        guest = await catalogue.both_services.registers(existing(JAN))
        await catalogue.both_services.registers({"choice": "none"}, OTHER_CARD)
        async with httpx2.AsyncClient(base_url=catalogue.address, follow_redirects=True) as patron:
            welcome = await _logs_in(patron, "acc-jan")
            account = (await catalogue.both_services.logs_in()).json()
            assert (welcome.text, account["guest"]["guest_id"]) == (
                f"You are {account['actor_id']}.",
                guest["guest_id"],
            )
            assert (await patron.post("/logout")).text == "Log in at /login."
            sent_on = await _logs_in(patron, "acc-piet")
            assert "Go to the counter first: https://balie.example/doorverwezen?handle=" in sent_on.text


async def _logs_in(patron: httpx2.AsyncClient, account_id: str) -> httpx2.Response:
    asked = await patron.get("/login")
    return await patron.post(asked.url, data={**asked.url.params, "person": "", "typed": account_id})
