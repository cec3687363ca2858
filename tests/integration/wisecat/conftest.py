"""The demo of Wisecat+ on a real address, over both services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from starlette.applications import Starlette

from identity.adapters.catalogues import Catalogues
from identity.application.dependencies import SystemClock
from infra.local.credentials import CATALOGUE_ID
from infra.local.issuer import ACCOUNTS, Issuer, catalogue_client
from infra.local.ports import LOOPBACK, answers, free_port
from infra.local.postgres import Postgres
from infra.local.wisecat import IdentityLogins, Wisecat
from infra.local.wisecat_sign_in import PatronSignIn
from shared.platform.http_client import HttpClient
from shared.web.server import serve
from tests.support.both_services import BothServices, open_both_services
from tests.support.eventually import eventually
from tests.support.identity_service import IdentityApp
from tests.support.servers import Databases
from tests.support.tokens import held_token

DELFT = "2602"
LIBRARIES = {"1001": "Biblionet Drenthe", DELFT: "DOK Delft", "2002": "Thuisbibliotheek"}


@dataclass
class Catalogue:
    """Its pages at `address`, where its patrons sign in, and the services behind them."""

    address: str
    accounts: Issuer
    both_services: BothServices
    identity_url: str
    token: str


MakeApp = Callable[["Catalogue", HttpClient], Starlette]


@asynccontextmanager
async def open_catalogue(databases: Databases, folder: Path, make_app: MakeApp) -> AsyncIterator[Catalogue]:
    """A catalogue, the account provider of its patrons and identity, served until the context ends."""
    ports, stopping = [free_port() for _ in range(3)], asyncio.Event()
    address, issuer, identity_url = (f"http://{LOOPBACK}:{port}" for port in ports)
    async with open_both_services(databases, folder) as both_services, HttpClient() as http:
        signer = both_services.identity.signer
        accounts = Issuer(issuer, signer.key, catalogue_client(address), ACCOUNTS, typed=True)
        believes(both_services.identity, issuer, folder)
        token = signer.token("login", list(LIBRARIES), CATALOGUE_ID)
        catalogue = Catalogue(address, accounts, both_services, identity_url, token)
        apps = (make_app(catalogue, http), accounts.app(), both_services.identity.app)
        serving = [
            asyncio.create_task(serve(app, LOOPBACK, port, stopping))
            for app, port in zip(apps, ports, strict=True)
        ]
        try:
            await eventually(lambda: all(answers(port) for port in ports))
            yield catalogue
        finally:
            stopping.set()
            await asyncio.gather(*serving)


def demo(catalogue: Catalogue, http: HttpClient) -> Starlette:
    """The demo of Wisecat+."""
    logins = IdentityLogins(catalogue.identity_url, http, held_token(catalogue.token))
    sign_in = PatronSignIn(catalogue.accounts.url, CATALOGUE_ID, catalogue.address, http)
    return Wisecat(logins, LIBRARIES, sign_in).app()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def catalogue(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Catalogue]:
    """The demo, one for all tests of a module: each has patrons of its own."""
    databases = Databases(postgres)
    async with open_catalogue(databases, tmp_path_factory.mktemp("catalogue"), demo) as opened:
        yield opened
    databases.drop_all()


def believes(identity: IdentityApp, issuer: str, folder: Path) -> None:
    """Identity reads a file of catalogues with this account provider from now on, and has this catalogue."""
    file = folder / "believed.toml"
    file.write_text(
        f'[issuers."{issuer}"]\njwks = "{identity.signer.jwks}"\n'
        f'[catalogues.{CATALOGUE_ID}]\nclient_ids."{issuer}" = ["{CATALOGUE_ID}"]\n',
        "utf-8",
    )
    identity.app.state.catalogues = Catalogues(file, HttpClient(), SystemClock())
