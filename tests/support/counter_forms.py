"""The counter's forms filled in over HTTP, as a browser would send them, for many registrations in a row."""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import httpx

WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing to load: all is on loopback
HOME = "NL-070288"


@asynccontextmanager
async def signed_in_at(address: str, subject: str = "m.visser") -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with a browser's cookies who signed in at a running counter."""
    async with httpx.AsyncClient(base_url=address, verify=WITHOUT_TLS, timeout=20) as client:
        leaving = (await client.get("/aanmelden")).headers["location"]
        asked = dict(parse_qsl(urlsplit(leaving).query))
        issuer = leaving.partition("?")[0]
        async with httpx.AsyncClient(verify=WITHOUT_TLS) as elsewhere:
            back = await elsewhere.post(issuer, data={**asked, "person": subject})
        assert (await client.get(back.headers["location"])).status_code == 303
        yield client


def fields_of(html: str, form_id: str) -> dict[str, str]:
    """What the form with this id would send: hidden and text fields, ticked boxes and radios, selections."""
    found = re.search(rf'<form[^>]*id="{form_id}".*?</form>', html, re.DOTALL)
    assert found, f"there is no form {form_id!r}"
    fields = {}
    for tag in re.findall(r"<input[^>]*>", found.group()):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if attributes.get("type") in {"radio", "checkbox"} and " checked" not in tag:
            continue
        fields[attributes["name"]] = unescape(attributes.get("value", ""))
    for name, options in re.findall(
        r'<select[^>]*name="([^"]+)".*?>(.*?)</select>', found.group(), re.DOTALL
    ):
        fields[name] = re.findall(r'value="([^"]*)"', options)[0]
    return fields


async def details_of(client: httpx.AsyncClient, card: str, home_isil: str = HOME) -> str:
    """Scan a card nobody knows here, give its library: the page with what home says."""
    fields = fields_of((await client.get("/")).text, "scan")
    scanned = await client.post("/scan", data=fields | {"card_number": card})
    fields = fields_of(scanned.text, "new-guest")
    return (await client.post("/gasten/nieuw/thuis", data=fields | {"home_isil": home_isil})).text


async def register(client: httpx.AsyncClient, card: str, **choice: str) -> str:
    """Through all of the steps; the address of the guest's page."""
    fields = fields_of(await details_of(client, card), "new-guest")
    saved = await client.post("/gasten/nieuw/opslaan", data=fields | {"choice": "none"} | choice)
    assert saved.status_code == 303, saved.text
    return saved.headers["location"].removesuffix("/ingeschreven")
