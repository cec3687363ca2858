"""The button that saves is in sight without scrolling at every step, on a desk's screen (1366 × 768)."""

from collections.abc import AsyncIterator
from datetime import date
from itertools import count

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from registration.bootstrap import view_source
from registration.domain.verdict import PatronDetails, Reason, Refused, Valid
from registration.read_models import VIEWS
from tests.support.browser import new_page, sign_in
from tests.support.counter_pages import CounterSite, register
from tests.support.projections import follow_all
from tests.support.registration_service import HOME, JAN

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
SAVE = ".save button.primary"
# At the top of the page and where the focus took it: all of the button is on the screen, nothing covers it.
IN_SIGHT = """(selector) => {
    const seen = () => {
        const button = [...document.querySelectorAll(selector)].at(-1), box = button.getBoundingClientRect();
        const inside = box.height > 0 && box.top >= 0 && box.bottom <= innerHeight && box.right <= innerWidth;
        return inside && [box.top + 2, box.bottom - 2].every(
            (y) => button.contains(document.elementFromPoint(box.left + box.width / 2, y)));
    };
    const asOpened = seen();
    scrollTo({ top: 0, behavior: "instant" });
    return [asOpened, seen()];
}"""


@pytest_asyncio.fixture(loop_scope="module")
async def page(counter_site: CounterSite, browser: Browser) -> AsyncIterator[Page]:
    opened = await new_page(browser)
    await opened.set_viewport_size({"width": 1366, "height": 768})
    await sign_in(opened, counter_site.address)
    yield opened
    await opened.context.close()


async def save_is_in_sight(page: Page, step: str, button: str = SAVE) -> None:
    assert await page.evaluate(IN_SIGHT, button) == [True, True], step


def patron(counter_site: CounterSite) -> str:
    """The card of a person of its own, with a long address; one account is on it, one on another card."""
    card = f"0664{next(numbers):06d}"
    who = PatronDetails(
        f"P. Proef{card}", JAN.birth_date, "Zeer Lange Laan van de Vrijheid 1234, 9999 ZZ Ergens", JAN.email
    )
    counter_site.app.home.answers(HOME, card, Valid(who, date(2026, 12, 31), card))
    counter_site.app.accounts.opens(f"own{card}", card)
    counter_site.app.accounts.opens(f"other{card}", "0990000000")
    return card


async def presses(page: Page, name: str) -> None:
    async with page.expect_navigation():
        await page.get_by_role("button", name=name, exact=True).last.click()


async def every_choice_of_account(page: Page, card: str, where: str) -> None:
    """Each step of the form for the account: empty, not found, found, another person's, new, refused."""
    await save_is_in_sight(page, f"{where}: opened")
    for username in ("niemand", f"own{card}", f"other{card}"):
        await page.get_by_label("Bestaand inlogaccount gebruiken").check()
        await page.get_by_label("Gebruikersnaam bij de thuisbibliotheek").fill(username)
        await presses(page, "Zoeken")
        await save_is_in_sight(page, f"{where}: searched {username}")
    async with page.expect_navigation():
        await page.locator(SAVE).last.click()  # another person's, and no reason
    await save_is_in_sight(page, f"{where}: no reason")
    await page.get_by_label("Nieuw inlogaccount genereren").check()
    await page.get_by_label("Nieuwe gebruikersnaam").fill(f"own{card}")
    await page.get_by_label("E-mailadres", exact=True).fill("p@example.org")
    await save_is_in_sight(page, f"{where}: new account")
    async with page.expect_navigation():
        await page.locator(SAVE).last.click()
    await save_is_in_sight(page, f"{where}: username taken")


async def test_the_button_that_saves_is_in_sight_at_every_step_of_a_new_guest(
    counter_site: CounterSite, page: Page
) -> None:
    """On a screen of 1366 × 768 "OK en Opslaan" was below the fold."""
    card = patron(counter_site)
    await page.goto(f"{counter_site.address}/gasten/nieuw")
    await save_is_in_sight(page, "nothing scanned")
    await page.get_by_label("Klantnummer").fill(card)
    await presses(page, "Ok, Vervolg")
    await save_is_in_sight(page, "no library found")
    await page.get_by_label("ISIL-code", exact=True).fill("NL-999999")
    await presses(page, "Ok, Vervolg")
    await save_is_in_sight(page, "no such library")
    await page.get_by_label("ISIL-code", exact=True).fill(HOME)
    await presses(page, "Ok, Vervolg")
    await every_choice_of_account(page, card, "new guest")


async def test_the_button_that_saves_is_in_sight_where_a_patron_looks_like_a_guest(
    counter_site: CounterSite, page: Page, clerk: httpx2.AsyncClient
) -> None:
    card, second = patron(counter_site), patron(counter_site)
    await register(clerk, card)
    known = await counter_site.app.home.ask(HOME, card)
    assert isinstance(known, Valid)
    counter_site.app.home.answers(HOME, second, Valid(known.details, None, second))
    await follow_all(counter_site.app.service, VIEWS, view_source(counter_site.app.service.settings))
    await page.goto(f"{counter_site.address}/gasten/nieuw")
    await page.get_by_label("Klantnummer").fill(second)
    await page.get_by_label("ISIL-code", exact=True).fill(HOME)
    await presses(page, "Ok, Vervolg")
    assert await page.get_by_text("Lijkt op").count() > 0
    await save_is_in_sight(page, "likely duplicate")


@pytest.mark.parametrize("of_an_expired_guest", [True, False], ids=["re-registration", "link"])
async def test_the_button_that_saves_is_in_sight_at_every_step_of_a_known_guest(
    counter_site: CounterSite, page: Page, clerk: httpx2.AsyncClient, of_an_expired_guest: bool
) -> None:
    card = patron(counter_site)
    path = await register(clerk, card)
    if of_an_expired_guest:
        known = await counter_site.app.home.ask(HOME, card)
        counter_site.app.home.answers(HOME, card, Refused((Reason.EXPIRED,), because_ended=True))
        await page.goto(f"{counter_site.address}{path}")
        await presses(page, "Vraag thuisbibliotheek")
        counter_site.app.home.answers(HOME, card, known)
        await page.goto(f"{counter_site.address}{path}/inschrijven")
    else:
        await page.goto(f"{counter_site.address}{path}?tab=inlogaccount")
    await every_choice_of_account(page, card, path)
