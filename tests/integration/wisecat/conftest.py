"""The demo of Wisecat+ on a real address, over both services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from infra.local.ports import LOOPBACK, answers, free_port
from infra.local.wisecat import IdentityLogins, Wisecat
from shared.web.server import serve
from tests.support.both_services import BothServices, open_both_services
from tests.support.eventually import eventually
from tests.support.servers import Databases

DELFT = "2602"
LIBRARIES = {"1001": "Biblionet Drenthe", DELFT: "DOK Delft", "2002": "Thuisbibliotheek"}


@dataclass
class Catalogue:
    """Its pages at `address`, and the services behind them."""

    address: str
    both_services: BothServices


@pytest.fixture
async def catalogue(databases: Databases, tmp_path: Path) -> AsyncIterator[Catalogue]:
    """Served until the test ends."""
    port, stopping = free_port(), asyncio.Event()
    async with open_both_services(databases, tmp_path) as both_services:
        token = both_services.identity.signer.token("login", list(LIBRARIES), "wisecat")
        transport = httpx.ASGITransport(both_services.identity.app)
        async with httpx.AsyncClient(transport=transport) as http:
            app = Wisecat(IdentityLogins("http://identity", http, lambda: token), LIBRARIES).app()
            serving = asyncio.create_task(serve(app, LOOPBACK, port, stopping))
            try:
                await eventually(lambda: answers(port))
                yield Catalogue(f"http://{LOOPBACK}:{port}", both_services)
            finally:
                stopping.set()
                await serving
