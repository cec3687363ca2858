"""The counter's pages: served beside a sign-in service, filled in over HTTP, and read in a browser."""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date
from html import unescape
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import httpx2
from playwright.async_api import expect

from infra.local.issuer import PEOPLE, Client, Issuer
from infra.local.ports import LOOPBACK, answers, free_port
from infra.local.story_steps import dutch_date, header_of, last_of_the_month
from registration.bootstrap import view_source
from registration.domain.guest import Guest
from registration.domain.verdict import Valid
from registration.read_models import VIEWS
from shared.event_log import Metadata
from shared.web.server import serve
from tests.support.browser import Keyboard, assert_accessible, screenshot
from tests.support.eventually import eventually
from tests.support.projections import follow_all
from tests.support.registration_service import JAN, RegistrationApp, open_registration_app

CLIENT_ID = "counter"
WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing to load: all is on loopback
HOME = "NL-070288"
FINES = "0990139339"
REFUSAL = "Gastlener kan niet worden ingeschreven: reden [ Klant is geblokkeerd ]"


class Visitor(httpx2.AsyncClient):
    """A client with a browser's cookies. It follows no redirect but those to what a form's page shows next.

    So the answer to a form is its page, or a redirect to another one.
    """

    async def post(self, *arguments: Any, **more: Any) -> httpx2.Response:
        answer = await super().post(*arguments, **more)
        while answer.status_code == 303 and is_kept(answer.headers["location"]):
            answer = await self.get(answer.headers["location"])
        return answer

    async def sends(self, path: str, **more: Any) -> httpx2.Response:
        """The answer to a form itself."""
        return await super().post(path, **more)


def is_kept(location: str) -> bool:
    """Whether a redirect leads to what was kept of the form: its page, or what went wrong."""
    return (
        "concept=" in location
        or "vraag=" in location
        or location.partition("?")[0] in {"/melding", "/aanmelden/verlopen"}
    )


@dataclass
class CounterSite:
    """The pages of a counter at `address`; `issuer` is where its staff sign in."""

    app: RegistrationApp
    address: str
    issuer: Issuer

    @asynccontextmanager
    async def visitor(self, language: str = "nl") -> AsyncIterator[Visitor]:
        """A client with a browser's cookies."""
        headers = {"Accept-Language": language}
        async with Visitor(base_url=self.address, headers=headers, verify=WITHOUT_TLS) as client:
            yield client

    @asynccontextmanager
    async def signed_in(self, subject: str = "m.visser") -> AsyncIterator[Visitor]:
        """A visitor who signed in as one of the people of the local stack."""
        async with self.visitor() as client:
            back = await self.come_back(await client.get("/aanmelden"), subject)
            answer = await client.get(back)
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            yield client

    async def come_back(self, leaving: httpx2.Response, subject: str = "m.visser") -> str:
        """The address to which the sign-in service sends a visitor back."""
        address = leaving.headers["location"]
        asked = dict(parse_qsl(urlsplit(address).query))
        async with httpx2.AsyncClient(verify=WITHOUT_TLS) as elsewhere:
            answer = await elsewhere.post(f"{self.issuer.url}/authorize", data={**asked, "person": subject})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]


@asynccontextmanager
async def open_counter_site(
    database: str, folder: Path, issuer_kind: type[Issuer] = Issuer, **more: Any
) -> AsyncIterator[CounterSite]:
    """A counter as `open_registration_app` opens it, served; `more` overrides settings."""
    issuer_port, port = free_port(), free_port()
    address, issuer_url = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{issuer_port}"
    pages = {
        "oidc_issuer": issuer_url,
        "oidc_client_id": CLIENT_ID,
        "session_key_file": folder / "person_ref.key",
        "counter_url": address,
    }
    stopping = asyncio.Event()
    async with open_registration_app(database, folder, **pages | more) as registration_app:
        client = Client(CLIENT_ID, f"{address}/aanmelden/terug", f"{address}/afmelden")
        issuer = issuer_kind(issuer_url, registration_app.signer.key, client, PEOPLE)
        serving = [
            asyncio.create_task(serve(app, LOOPBACK, number, stopping))
            for app, number in ((issuer.app(), issuer_port), (registration_app.app, port))
        ]
        try:
            await eventually(lambda: answers(issuer_port) and answers(port))
            yield CounterSite(registration_app, address, issuer)
        finally:
            stopping.set()
            await asyncio.gather(*serving)


def form_of(html: str, action: str) -> dict[str, str]:
    """The hidden fields of the form that is sent to `action`."""
    found = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', html, re.DOTALL)
    assert found, f"no form to {action}"
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', found.group())
    return {name: unescape(value) for name, value in fields}


def session_in(client: httpx2.AsyncClient) -> dict[str, Any]:
    """What the cookie says: it is signed, not encrypted."""
    return dict(json.loads(base64.b64decode(client.cookies["counter"].partition(".")[0])))


@asynccontextmanager
async def signed_in_at(address: str, subject: str = "m.visser") -> AsyncIterator[Visitor]:
    """A client with a browser's cookies that signed in at a running counter."""
    async with Visitor(base_url=address, verify=WITHOUT_TLS, timeout=20) as client:
        leaving = (await client.get("/aanmelden")).headers["location"]
        asked = dict(parse_qsl(urlsplit(leaving).query))
        issuer = leaving.partition("?")[0]
        async with httpx2.AsyncClient(verify=WITHOUT_TLS) as elsewhere:
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
        chosen = re.findall(r'value="([^"]*)" selected', options)
        fields[name] = (chosen or re.findall(r'value="([^"]*)"', options))[0]
    return fields


async def details_of(client: httpx2.AsyncClient, card: str, home_isil: str = HOME) -> str:
    """Scan an unknown card and choose its library: the page with the verdict of home."""
    fields = fields_of((await client.get("/")).text, "scan")
    scanned = await client.post("/scan", data=fields | {"card_number": card})
    fields = fields_of(scanned.text, "new-guest")
    return (await client.post("/gasten/nieuw/thuis", data=fields | {"home_isil": home_isil})).text


async def _save(client: httpx2.AsyncClient, page: str, filled_in: Mapping[str, str]) -> httpx2.Response:
    return await client.post("/gasten/nieuw/opslaan", data={**fields_of(page, "new-guest"), **filled_in})


def _likely_in(page: str) -> list[str]:
    return re.findall(r'name="likely" value="([^"]*)"', page)


async def register(client: httpx2.AsyncClient, card: str, home_isil: str = HOME, **choice: str) -> str:
    """Through all of the steps; the address of the guest's page. Who looks like a guest is another person."""
    page, filled_in = (
        await details_of(client, card, home_isil),
        {"choice": "none", "decision": "other"} | choice,
    )
    saved = await _save(client, page, filled_in)
    while saved.status_code == 409 and _likely_in(saved.text) != _likely_in(page):
        page = saved.text  # somebody whom the list did not know yet when the page was shown (R28)
        saved = await _save(client, page, filled_in)
    assert saved.status_code == 303, saved.text
    return saved.headers["location"].removesuffix("/ingeschreven")


async def links_too_late(app: RegistrationApp, path: str, *, blocked: str | None = None) -> None:
    """Identity linked the account of this guest, after a first login here; and what it says of a merge."""
    deps, guest_id = app.service.deps, UUID(path.rpartition("/")[2])
    guest = await deps.store.load(Guest, guest_id)
    guest.confirm_link("acc-jan", too_late=True, now=deps.clock.now())
    await deps.store.save(guest, metadata=Metadata("identity", uuid4()))
    app.accounts.has_two_actors(guest_id, blocked=blocked)


class Look:
    """A screenshot of each page, for people; and axe, where it can run."""

    def __init__(self, clerk: Keyboard, javascript: bool) -> None:
        self._clerk, self._javascript = clerk, javascript

    async def at(self, name: str) -> None:
        await self.only_at(name)
        if self._javascript:
            await assert_accessible(self._clerk.page)

    async def only_at(self, name: str) -> None:
        """Without axe, which saw this page in another state."""
        if self._javascript:
            await screenshot(self._clerk.page, f"counter-{name}")


async def registers(clerk: Keyboard, look: Look, card: str, username: str) -> None:
    """Scanned, the ISIL typed, two boxes ticked on the way back, the account found by its username."""
    await clerk.enters(card)
    await expect(clerk.page.locator("h1")).to_have_text("Nieuwe klant toevoegen → Gastklant")
    await look.at("nieuwe-klant")
    await clerk.enters(HOME)
    await clerk.sees("Deze gegevens kunnen niet worden aangepast.")
    await expect(clerk.page.locator("#subscription_code")).to_have_value("346")
    assert await clerk.has_focus("username")
    await clerk.reaches("identity_document_checked", "Shift+Tab")
    await clerk.presses("Space", "Tab", "Space")
    await look.only_at("gegevens")
    await clerk.reaches("username")
    await clerk.enters(username)
    await clerk.sees(f"{username}@voorbeeld.nl")
    assert await clerk.has_focus("OK en Opslaan")
    await look.at("inlogaccount-gevonden")
    await clerk.enters()


async def sees_linked(clerk: Keyboard, javascript: bool) -> None:
    """Shown live; without JavaScript by looking again."""
    done = clerk.page.locator("#link-state.success")
    for _ in range(50):
        if javascript or await done.count():
            break
        await clerk.goes("Kijk opnieuw")
    await expect(done).to_have_text("Inlogaccount gekoppeld: de klant kan nu inloggen.")


async def meets_a_refusal(clerk: Keyboard, look: Look) -> None:
    await clerk.reaches("card_number")
    await clerk.enters(FINES)
    await clerk.enters(HOME)
    await expect(clerk.page.locator("#refusal .alert-text")).to_have_text(REFUSAL)
    await clerk.sees("Volgens de thuisbibliotheek: er staat een boete te lang open.")
    await clerk.sees("De klant moet contact opnemen met de eigen bibliotheek.")
    await look.at("geweigerd")
    assert await clerk.has_focus("Naar de balie")
    await clerk.enters()


async def reregisters(clerk: Keyboard, look: Look) -> None:
    await clerk.goes("Inschrijven")
    await clerk.sees("(tijdelijk abonnement 12 mnd.)")
    await expect(clerk.page.locator("#patron_type")).to_have_value("04")
    await look.at("herinschrijven")
    await clerk.presses(*["Shift+Tab"] * 5)
    assert await clerk.has_focus("patron_type")
    await clerk.presses("ControlOrMeta+a")
    await clerk.enters("05")
    await expect(clerk.page.locator("#refusal .alert-text")).to_have_text("Verander dit niet!")
    await look.only_at("klanttype-geweigerd")
    await clerk.presses("ControlOrMeta+a")
    await clerk.enters("04")
    await clerk.sees("Heringeschreven: het abonnement is weer geldig.")


async def sees_valid(clerk: Keyboard, end: date) -> None:
    header = clerk.page.locator("#header")
    assert await header.inner_text() == f"gastleen abonnement  {header_of(end)}"
    expiry = dutch_date(last_of_the_month(end).isoformat())
    await expect(clerk.page.locator("#expiry")).to_have_text(f"Vervalt {expiry}")


async def sees_expired(clerk: Keyboard) -> None:
    header = clerk.page.locator("#header.expired")
    assert await header.inner_text() == "gastleen abonnement  Ongeldig  Opgezegd, reden overig"
    await expect(header).to_have_css("color", "rgb(163, 18, 27)")
    await expect(clerk.page.locator("#card-notice.expired")).to_have_text("Pas niet geldig!")


async def rows_of(clerk: Keyboard) -> list[list[str]]:
    rows = clerk.page.locator("#contributions tbody tr")
    return [await row.locator("td").all_inner_texts() for row in await rows.all()]


def as_shown(rows: list[tuple[str, str, str]]) -> list[list[str]]:
    return [
        ["1001 / 9453", dutch_date(begin), dutch_date(end), "346-gastleen abonnement", status, "0,00", "BIEB"]
        for begin, end, status in rows
    ]


cards = count(1)


def member(counter_site: CounterSite) -> str:
    """A card that no other test uses, of a member at home with Jan's account; its prefix is in no table."""
    card = f"0660{next(cards):06d}"
    is_person(counter_site, card, card)
    counter_site.app.accounts.opens("jan", card)
    return card


def is_person(counter_site: CounterSite, card: str, who: str, isil: str = HOME) -> None:
    """The card is that of a person who lives at an address of their own, so nobody looks like them (R28)."""
    details = replace(JAN, address=f"Brink {who}, Groningen")
    counter_site.app.home.answers(isil, card, Valid(details, date(2026, 12, 31), card))


async def followed(counter_site: CounterSite) -> None:
    """The views have caught up."""
    service = counter_site.app.service
    await follow_all(service, VIEWS, view_source(service.settings))


async def scanned(client: httpx2.AsyncClient, card: str) -> httpx2.Response:
    fields = fields_of((await client.get("/")).text, "scan")
    return await client.post("/scan", data=fields | {"card_number": card})
