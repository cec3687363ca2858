"""What a clerk does at the counter's pages in a real browser, and which pages there are."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from fastapi.routing import APIRoute
from playwright.async_api import Locator, Page, expect

from registration.counter_ui.app import ROUTERS
from registration.domain.verdict import Verdict
from tests.support.counter_pages import CounterSite, member
from tests.support.registration_service import registering

NO_PAGES = {
    "/aanmelden": "leads to the sign-in service",
    "/aanmelden/terug": "leads to the page that was asked for",
    "/gasten/{guest_id:uuid}/koppeling": "a stream of events",
    "/beheer/weergaven/{name}/voortgang": "a stream of events",
    "/beheer/stroom": "a stream of events",
    "/beheer/gasten": "leads to the events of a guest",
    "/melding": "leads to the problem of the last form, of which it shows the help",
}
PAGES = sorted(
    route.path
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute) and "GET" in (route.methods or ()) and route.path not in NO_PAGES
)
"""The template of each page that a visitor can open."""
USERNAME = "Gebruikersnaam bij de thuisbibliotheek"
# A screen reader reads out what is added to the status line, not what was there when the page came.
READS_OUT = """document.addEventListener("DOMContentLoaded", () => {
    const status = document.getElementById("status");
    const read = (changes) => changes.forEach((change) => change.addedNodes.forEach(
        (node) => { document.documentElement.dataset.readOut = node.textContent; }));
    if (status) new MutationObserver(read).observe(status, { childList: true });
})"""

# The browser's driver waits for the answer before it looks again, so a clerk in the page presses the button.
STOPS_WAITING = """() => {
    const status = document.getElementById("status"), set = window.setTimeout;
    window.waits = [];
    window.setTimeout = (what, milliseconds) => {
        window.waits.push(milliseconds);
        return set(what, milliseconds);
    };
    new MutationObserver(() => {
        const button = status.querySelector("#busy button");
        if (!button) return;
        document.documentElement.dataset.said = status.innerText;
        button.click();
    }).observe(status, { childList: true });
}"""


async def is_asked_to_wait(page: Page) -> None:
    """The page said so, to a clerk who then stopped waiting."""
    await expect(page.locator("html")).to_have_attribute("data-said", re.compile("Even geduld"))


async def guest_of(counter_site: CounterSite, card: str = "", **more: object) -> tuple[str, str]:
    """The card of a new guest, this one or a new one, and the path of its page; `more` is registered."""
    card = card or member(counter_site)
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        answer = await clerk.post("/v1/guests", json=registering(card, **more))
    assert answer.status_code == 201, answer.text
    return card, f"/gasten/{answer.json()['guest_id']}"


async def with_account(counter_site: CounterSite, name: str, *, linked: bool = True) -> tuple[str, str]:
    """The card and the path of a new guest whose account of this name is linked, or is being linked."""
    card = member(counter_site)
    account_id = counter_site.app.accounts.opens(name, card)
    account = {"choice": "existing", "account_id": account_id}
    _, guest = await guest_of(counter_site, card, login_account=account)
    if linked:
        await counter_site.app.links(number_of(guest), account_id)
    return card, guest


def number_of(guest: str) -> UUID:
    """The id in the path of a guest's page."""
    return UUID(guest.rpartition("/")[2])


async def opens(page: Page, counter_site: CounterSite, path: str) -> None:
    """The address is typed."""
    await page.goto(counter_site.address + path)


async def enters(page: Page, label: str, text: str) -> None:
    """Fill in this field and press Enter; wait for the page that comes of it."""
    await page.get_by_label(label, exact=True).fill(text)
    await presses(page)


async def presses(page: Page, button: str = "", key: str = "Enter") -> None:
    """Press the key on this button, or on what has the focus, and wait for the page that comes of it."""
    async with page.expect_navigation():
        if button:
            await page.get_by_role("button", name=button, exact=True).last.press(key)
        else:
            await page.keyboard.press(key)


async def scans(page: Page, counter_site: CounterSite, card: str) -> None:
    """At the first page, where the field for the card has the focus."""
    await opens(page, counter_site, "/")
    await expect(page.get_by_label("Pasnummer")).to_be_focused()
    await page.keyboard.type(card)
    await presses(page)


async def sees(page: Page, *texts: str) -> None:
    """Each of these is somewhere on the page."""
    for text in texts:
        await expect(page.get_by_role("main")).to_contain_text(text)


def status_line(page: Page) -> Locator:
    """What was done, as the page says it on top."""
    return page.locator("#status")


async def is_read_out(page: Page, line: str) -> None:
    """A screen reader says this line. The page has READS_OUT."""
    await expect(page.locator("html")).to_have_attribute("data-read-out", re.compile(re.escape(line)))


@contextmanager
def later(counter_site: CounterSite, time: timedelta) -> Iterator[None]:
    """Meanwhile it is so much later."""
    counter_site.app.clock.moment += time
    try:
        yield
    finally:
        counter_site.app.clock.moment -= time


def silent_home(counter_site: CounterSite, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """From now on home libraries reply only after this event is set."""
    home, goes_on = counter_site.app.home, asyncio.Event()
    ask = home.ask

    async def slowly(isil: str, card_number: str) -> Verdict:
        await goes_on.wait()
        return await ask(isil, card_number)

    monkeypatch.setattr(home, "ask", slowly)
    return goes_on
