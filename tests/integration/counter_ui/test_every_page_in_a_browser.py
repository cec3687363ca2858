"""The guest's pages beside the story, in a real browser: accessible each, and a scan presses no button."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support.browser import new_page, open_browser, sign_in
from tests.support.counter_forms import register
from tests.support.counter_site import Site
from tests.support.registration_service import HOME

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(site: Site, browser: Browser) -> AsyncIterator[Page]:
    """Of somebody who may do everything."""
    opened = await new_page(browser)
    await sign_in(opened, site.address, "Femke de Boer")
    yield opened
    await opened.context.close()


def member(site: Site) -> str:
    card = f"0660{next(numbers):06d}"
    site.counter.member(card)
    return card


async def registered(site: Site) -> tuple[str, str]:
    """A guest's card, and the address of its page."""
    card = member(site)
    async with site.signed_in() as clerk:
        return card, site.address + await register(clerk, card)


async def test_a_scan_finds_the_card_whatever_has_the_focus(site: Site, page: Page) -> None:
    _, guest = await registered(site)
    card = member(site)
    async with site.counter.nothing_written():
        for control in (
            page.get_by_role("link", name="Uitschrijven"),
            page.get_by_role("button", name="Vraag thuisbibliotheek"),
        ):
            await page.goto(guest)
            await control.focus()
            async with page.expect_navigation():
                await page.keyboard.type(f"{card}\n")
            await expect(page.get_by_label("Klantnummer")).to_have_value(card)


async def test_a_scan_in_mid_registration_saves_nobody(site: Site, page: Page) -> None:
    await page.get_by_label("Pasnummer").fill(member(site))
    await page.keyboard.press("Enter")
    await page.get_by_label("ISIL-code", exact=True).fill(HOME)
    await page.keyboard.press("Enter")
    await page.get_by_label("Nee, geen inlogaccount").check()
    async with site.counter.nothing_written():
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
