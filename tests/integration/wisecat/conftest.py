"""The demo of Wisecat+ on a real address, over both services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from identity.adapters.catalogues import Catalogues
from identity.application.dependencies import SystemClock
from infra.local.credentials import CATALOGUE_ID
from infra.local.issuer import ACCOUNTS, Issuer, catalogue_client
from infra.local.ports import LOOPBACK, answers, free_port
from infra.local.wisecat import IdentityLogins, Wisecat
from infra.local.wisecat_sign_in import PatronSignIn
from shared.platform.http_client import HttpClient
from shared.web.server import serve
from tests.support.both_services import BothServices, open_both_services
from tests.support.eventually import eventually
from tests.support.identity_service import IdentityApp
from tests.support.servers import Databases

DELFT = "2602"
LIBRARIES = {"1001": "Biblionet Drenthe", DELFT: "DOK Delft", "2002": "Thuisbibliotheek"}


@dataclass
class Catalogue:
    """Its pages at `address`, where its patrons sign in, and the services behind them."""

    address: str
    accounts: Issuer
    both_services: BothServices


@pytest.fixture
async def catalogue(databases: Databases, tmp_path: Path) -> AsyncIterator[Catalogue]:
    """Served until the test ends."""
    port, accounts_port, stopping = free_port(), free_port(), asyncio.Event()
    address = f"http://{LOOPBACK}:{port}"
    async with open_both_services(databases, tmp_path) as both_services:
        signer = both_services.identity.signer
        accounts = Issuer(
            f"http://{LOOPBACK}:{accounts_port}", signer.key, catalogue_client(address), ACCOUNTS, typed=True
        )
        token = signer.token("login", list(LIBRARIES), CATALOGUE_ID)
        believes(both_services.identity, accounts.url, tmp_path)
        transport = httpx.ASGITransport(both_services.identity.app)
        async with httpx.AsyncClient(transport=transport) as http, HttpClient() as asking:
            logins = IdentityLogins("http://identity", http, lambda: token)
            app = Wisecat(logins, LIBRARIES, PatronSignIn(accounts.url, CATALOGUE_ID, address, asking)).app()
            served = ((app, port), (accounts.app(), accounts_port))
            serving = [asyncio.create_task(serve(each, LOOPBACK, where, stopping)) for each, where in served]
            try:
                await eventually(lambda: answers(port) and answers(accounts_port))
                yield Catalogue(address, accounts, both_services)
            finally:
                stopping.set()
                await asyncio.gather(*serving)


def believes(identity: IdentityApp, issuer: str, folder: Path) -> None:
    """Identity reads a file of catalogues with this account provider from now on, and has this catalogue."""
    file = folder / "believed.toml"
    file.write_text(
        f'[issuers."{issuer}"]\njwks = "{identity.signer.jwks}"\n'
        f'[catalogues.{CATALOGUE_ID}]\nclient_ids = ["{CATALOGUE_ID}"]\n',
        "utf-8",
    )
    identity.app.state.catalogues = Catalogues(file, HttpClient(), SystemClock())
