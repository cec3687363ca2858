"""From scan to saved guest in a real browser: the keys that it takes, on the screen of a desk."""

from collections.abc import AsyncIterator
from datetime import date
from itertools import count

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from registration.domain.verdict import Valid
from tests.support.browser import assert_accessible, new_page, screenshot, sign_in
from tests.support.counter_pages import CounterSite
from tests.support.registration_service import FRYSLAN, JAN

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
KEYS = 3
"""What the README says: beside the scan and the username."""


@pytest_asyncio.fixture(loop_scope="module")
async def page(counter_site: CounterSite, browser: Browser) -> AsyncIterator[Page]:
    """The screen of a desk, 1366 × 768."""
    opened = await new_page(browser)
    await opened.set_viewport_size({"width": 1366, "height": 768})
    await sign_in(opened, counter_site.address)
    yield opened
    await opened.context.close()


def patron(counter_site: CounterSite) -> tuple[str, str]:
    """A card whose prefix is of one library, and the username of the account on it."""
    number = next(numbers)
    card, username = f"18447{number:05d}", f"petra{number}"
    counter_site.app.home.answers(FRYSLAN, card, Valid(JAN, date(2026, 12, 31), card))
    counter_site.app.accounts.opens(username, card, FRYSLAN)
    return card, username


class Hands:
    """The clerk's, which press nothing but what is counted here."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pressed: list[str] = []

    async def press(self, key: str = "Enter") -> None:
        """Press a key that sends a form, and wait for the page that follows."""
        self.pressed.append(key)
        async with self.page.expect_navigation():
            await self.page.keyboard.press(key)
        await expect(self.page.locator("[autofocus]").first).to_be_focused()


async def shows_how_to_save(page: Page) -> None:
    await expect(page.locator("main button.primary").last).to_be_in_viewport(ratio=1)


async def shows_what_is_saved(page: Page) -> None:
    """The patron's name and the account that was found are both in sight, above the buttons."""
    name = await page.get_by_text(JAN.name, exact=True).bounding_box()
    account = await page.get_by_text("Dit account wordt gekoppeld.").bounding_box()
    buttons = await page.locator(".save").bounding_box()
    assert name is not None
    assert account is not None
    assert buttons is not None
    assert 0 < name["y"] < account["y"] < account["y"] + account["height"] <= buttons["y"]


async def test_scan_enter_username_enter_enter(counter_site: CounterSite, page: Page) -> None:
    card, username = patron(counter_site)
    hands = Hands(page)
    await page.keyboard.type(card)
    await hands.press()
    await expect(page.get_by_label("Gebruikersnaam bij de thuisbibliotheek")).to_be_focused()
    await shows_how_to_save(page)
    await screenshot(page, "counter-scanned")
    await page.keyboard.type(username)
    await hands.press()
    await expect(page.get_by_text(f"{username}@example.org")).to_be_visible()
    await expect(page.get_by_role("button", name="OK en Opslaan").last).to_be_focused()
    await shows_how_to_save(page)
    await shows_what_is_saved(page)
    async with counter_site.app.nothing_written():
        await page.reload()
        await page.go_back()
        await page.go_forward()
        await assert_accessible(page)
    await screenshot(page, "counter-account-taken")
    await expect(page.locator("[autofocus]").first).to_be_focused()
    await hands.press()
    await expect(page.get_by_role("heading", name="De klant is ingeschreven")).to_be_visible()
    await expect(page.get_by_text("hetzelfde wachtwoord als bij uw eigen bibliotheek")).to_be_visible()
    assert hands.pressed == ["Enter"] * KEYS
