"""The counter's pages on a real address, with a real sign-in service beside them."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from infra.local.issuer import PEOPLE, Client, Issuer
from infra.local.ports import LOOPBACK, answers, free_port
from shared.web.server import serve
from tests.support.eventually import eventually
from tests.support.registration_service import Counter, open_counter

CLIENT_ID = "counter"
WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing to load: all is on loopback


@dataclass
class Site:
    """The pages of a counter at `address`; `issuer` is where its staff sign in."""

    counter: Counter
    address: str
    issuer: Issuer

    @asynccontextmanager
    async def visitor(self, language: str = "nl") -> AsyncIterator[httpx.AsyncClient]:
        """Somebody with a browser's cookies, who follows no redirect by himself."""
        headers = {"Accept-Language": language}
        async with httpx.AsyncClient(base_url=self.address, headers=headers, verify=WITHOUT_TLS) as client:
            yield client

    @asynccontextmanager
    async def signed_in(self, subject: str = "m.visser") -> AsyncIterator[httpx.AsyncClient]:
        """A visitor who signed in as one of the people of the local stack."""
        async with self.visitor() as client:
            back = await self.come_back(await client.get("/aanmelden"), subject)
            answer = await client.get(back)
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            yield client

    async def come_back(self, leaving: httpx.Response, subject: str = "m.visser") -> str:
        """The address to which the sign-in service sends somebody back who was sent to it."""
        address = leaving.headers["location"]
        asked = dict(parse_qsl(urlsplit(address).query))
        async with httpx.AsyncClient(verify=WITHOUT_TLS) as elsewhere:
            answer = await elsewhere.post(f"{self.issuer.url}/authorize", data={**asked, "person": subject})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]


@asynccontextmanager
async def open_site(
    database: str, folder: Path, issuer_kind: type[Issuer] = Issuer, **more: Any
) -> AsyncIterator[Site]:
    """A counter as `open_counter` gives it, served; `more` overrides settings."""
    issuer_port, port = free_port(), free_port()
    address, issuer_url = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{issuer_port}"
    pages = {
        "oidc_issuer": issuer_url,
        "oidc_client_id": CLIENT_ID,
        "session_key_file": folder / "person_ref.key",
        "counter_url": address,
    }
    stopping = asyncio.Event()
    async with open_counter(database, folder, **pages | more) as counter:
        client = Client(CLIENT_ID, f"{address}/aanmelden/terug")
        issuer = issuer_kind(issuer_url, counter.signer.key, client, PEOPLE)
        serving = [
            asyncio.create_task(serve(app, LOOPBACK, number, stopping))
            for app, number in ((issuer.app(), issuer_port), (counter.app, port))
        ]
        try:
            await eventually(lambda: answers(issuer_port) and answers(port))
            yield Site(counter, address, issuer)
        finally:
            stopping.set()
            await asyncio.gather(*serving)


def form_of(html: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that is sent to `action`."""
    found = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', html, re.DOTALL)
    assert found, f"no form to {action}"
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', found.group())
    return {name: unescape(value) for name, value in fields}
