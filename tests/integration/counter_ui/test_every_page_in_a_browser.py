"""The guest's pages beside the story, in a real browser: rarer guests, and a scan presses no button."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from registration.domain.verdict import Reason, Refused
from tests.support.browser import assert_accessible, new_page, screenshot, sign_in
from tests.support.counter_browser import STOPS_WAITING, is_asked_to_wait, silent_home
from tests.support.counter_pages import CounterSite, register
from tests.support.guest_pages import Guest, identity_refuses
from tests.support.registration_service import HOME, registering

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)


@pytest_asyncio.fixture(loop_scope="module")
async def page(counter_site: CounterSite, browser: Browser) -> AsyncIterator[Page]:
    """Of a person with all scopes."""
    opened = await new_page(browser)
    await sign_in(opened, counter_site.address, "Femke de Boer")
    yield opened
    await opened.context.close()


def member(counter_site: CounterSite) -> str:
    card = f"0660{next(numbers):06d}"
    counter_site.app.member(card)
    return card


async def registered(counter_site: CounterSite) -> tuple[str, str]:
    """A guest's card, and the address of its page."""
    card = member(counter_site)
    async with counter_site.signed_in() as clerk:
        return card, counter_site.address + await register(clerk, card)


async def test_a_scan_finds_the_card_whatever_has_the_focus(counter_site: CounterSite, page: Page) -> None:
    _, guest = await registered(counter_site)
    card = member(counter_site)
    async with counter_site.app.nothing_written():
        for control in (
            page.get_by_role("link", name="Uitschrijven"),
            page.get_by_role("button", name="Vraag thuisbibliotheek"),
        ):
            await page.goto(guest)
            await control.focus()
            async with page.expect_navigation():
                await page.keyboard.type(f"{card}\n")
            await expect(page.get_by_label("Klantnummer")).to_have_value(card)
        await page.goto(counter_site.address)
        await page.get_by_label("Pasnummer").fill("pas!")
        for _ in range(2):  # the second scan takes the place of what was no card
            async with page.expect_navigation():
                await page.keyboard.press("Enter")
            await expect(page.get_by_label("Pasnummer")).to_be_focused()
            await page.keyboard.type("nog!")
        await expect(page.get_by_label("Pasnummer")).to_have_value("nog!")


async def test_a_scan_in_mid_registration_saves_nobody(counter_site: CounterSite, page: Page) -> None:
    await page.get_by_label("Pasnummer").fill(member(counter_site))
    await page.keyboard.press("Enter")
    await page.get_by_label("ISIL-code", exact=True).fill(HOME)
    await page.keyboard.press("Enter")
    await page.get_by_label("Nee, geen inlogaccount").check()
    async with counter_site.app.nothing_written():
        for control in (
            page.get_by_role("checkbox", name="Legitimatiebewijs gezien"),
            page.get_by_role("button", name="OK en Opslaan").last,
        ):
            await control.focus()
            await page.evaluate("document.getElementById('status').replaceChildren()")
            await page.keyboard.type("1844700099\n")
            await expect(page.get_by_role("status").first).to_contain_text("De gescande pas is niet gelezen")
    async with page.expect_navigation():
        await page.get_by_role("button", name="OK en Opslaan").last.press("Enter")
    await expect(page.get_by_role("heading", name="De klant is ingeschreven")).to_be_visible()


async def test_a_typed_card_goes_with_the_search_for_its_library(
    counter_site: CounterSite, page: Page
) -> None:
    """The number was gone after the search, and the library of no card was asked."""
    card = member(counter_site)
    await page.goto(f"{counter_site.address}/gasten/nieuw")
    await page.get_by_label("Klantnummer").fill("1")
    search = page.get_by_label("Zoek op cijfers van de pas")
    await search.fill("fryslân")
    async with page.expect_navigation():
        await search.press("Enter")
    await expect(page.get_by_label("Klantnummer")).to_have_value("1")
    await page.get_by_label("Klantnummer").fill(card)
    async with page.expect_navigation():
        await page.locator("#libraries button").first.click()
    await expect(page.get_by_label("Klantnummer")).to_have_value(card)


async def test_opening_a_guest_is_waited_for_but_not_a_download(
    counter_site: CounterSite, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest_card, guest = await registered(counter_site)
    await page.goto(guest)
    counter_site.app.home.answers(HOME, guest_card, Refused((Reason.EXPIRED,), because_ended=True))
    await page.get_by_role("button", name="Vraag thuisbibliotheek").click()
    await expect(page.get_by_role("link", name="Inschrijven")).to_be_visible()
    goes_on = silent_home(counter_site, monkeypatch)
    await page.evaluate(STOPS_WAITING)
    await page.get_by_role("link", name="Contributie").press("Enter")
    await is_asked_to_wait(page)
    goes_on.set()
    await page.goto(f"{counter_site.address}/beheer/opzoekingen")
    await page.evaluate(STOPS_WAITING)
    async with page.expect_download():
        await page.get_by_role("button", name="Alles als CSV").click()
    assert await page.evaluate("window.waits") == []


async def test_the_pages_of_rarer_guests_are_accessible(counter_site: CounterSite, page: Page) -> None:
    """Beside those of `test_pages_at_the_desk.py`, which has each page once."""
    refused, blocked, first, second, forgotten = [registering(member(counter_site)) for _ in range(5)]
    account_id = counter_site.app.accounts.opens("jan", refused["card_number"])
    refused["login_account"] = {"choice": "existing", "account_id": account_id}
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        bodies = (refused, blocked, first, second, forgotten)
        ids = [(await clerk.post("/v1/guests", json=body)).json()["guest_id"] for body in bodies]
        counter_site.app.home.answers(
            HOME, blocked["card_number"], Refused((Reason.FINES,), because_ended=False)
        )
        assert (await clerk.post(f"/v1/guests/{ids[1]}/home-check")).json()["status"] == "suspended"
        merging = {"into": ids[3], "confirm": True}
        assert (await clerk.post(f"/v1/guests/{ids[2]}/merge", json=merging)).status_code == 200
    await identity_refuses(Guest(counter_site, f"/gasten/{ids[0]}", refused["card_number"]), account_id)
    async with counter_site.app.client(iss=counter_site.issuer.url, scope="operator") as operator:
        assert (await operator.delete(f"/v1/guests/{ids[4]}/personal-data")).status_code == 204
    for path, name, says in (
        (f"{ids[0]}?tab=inlogaccount", "refused-link", "Niet gekoppeld"),
        (ids[1], "suspended", "Gastlener is geblokkeerd"),
        (ids[2], "merged-record", "Naar de gastlener"),
        (f"{ids[3]}?tab=contributie", "merged-rows", "Contributie"),
        (ids[4], "erased", "gewist"),
    ):
        await page.goto(f"{counter_site.address}/gasten/{path}")
        await expect(page.get_by_role("main")).to_contain_text(says)
        await assert_accessible(page)
        await screenshot(page, f"guest-{name}")


async def test_all_sessions_end_from_the_page_behind_ones_own_name(
    counter_site: CounterSite, page: Page
) -> None:
    async with counter_site.signed_in("f.deboer") as elsewhere:
        await page.get_by_role("link", name="Femke de Boer").click()
        await screenshot(page, "sessions")
        await page.get_by_role("button", name="Alle sessies beëindigen").press("Enter")
        await expect(page.get_by_role("heading", name="U bent afgemeld")).to_be_visible()
        assert (await elsewhere.get("/")).status_code == 303


async def test_f1_opens_the_help_and_a_hint_is_switched_off_by_keyboard(
    counter_site: CounterSite, page: Page
) -> None:
    help_text, field = page.get_by_role("region", name="Hulp bij deze pagina"), page.get_by_label("Pasnummer")
    await field.fill("123")
    await page.keyboard.press("F1")
    await expect(help_text).to_be_visible()
    await assert_accessible(page)
    await screenshot(page, "help")
    await page.keyboard.press("Escape")
    await expect(help_text).to_be_hidden()
    await expect(field).to_be_focused()
    await page.get_by_role("link", name="Hulp (F1)").press("Enter")
    await expect(help_text).to_contain_text("Geen scanner?")
    await page.keyboard.press("F1")
    await expect(help_text).to_be_hidden()
    await expect(field).to_have_value("123")
    async with page.expect_navigation():
        await page.get_by_role("button", name="Begrepen").press("Enter")
    await expect(page.get_by_role("button", name="Begrepen")).to_have_count(0)
