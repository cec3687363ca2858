"""Make the screenshots of the README and of docs/ from a running product: `make screenshots`."""

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Page, ViewportSize

from infra.local.story import CARD, GUEST_ORGANISATION, HOME_ISIL, REFUSED_CARD, USERNAME
from infra.local.story_steps import membership_ended
from tests.support.browser import Keyboard, new_page, open_browser, sign_in
from tests.support.stack import ROOT, RunningStack

IMAGES = ROOT / "docs" / "images"
LARGEST = 200_000  # bytes
SCREEN: ViewportSize = {"width": 1366, "height": 768}  # pixels: a desk's screen


class Camera:
    """Takes a picture of what the screen of a desk shows of a page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def takes(self, name: str) -> None:
        """Write the picture. Raises AssertionError if it is too large for a README."""
        path = IMAGES / f"{name}.png"
        # Nothing moves and no cursor blinks: a page that is the same has the same picture.
        await self._page.screenshot(path=path, animations="disabled", caret="hide")
        assert path.stat().st_size < LARGEST, f"{path} is too large"


async def at_the_counter(page: Page, counter: str, patrons: Path) -> None:
    """Register a guest, re-register it, meet a refusal, look at the operators' page."""
    clerk, camera = Keyboard(page), Camera(page)
    await sign_in(page, counter, "Femke de Boer")
    await page.get_by_role("button", name="Geen tips meer").click()
    await clerk.opens(f"{counter}/")
    await clerk.enters(CARD)
    await clerk.enters(HOME_ISIL)
    await page.get_by_label("Legitimatiebewijs gezien").check()
    await page.get_by_label("De pas heeft een chip").check()
    await page.locator("#username").focus()
    await clerk.enters(USERNAME)
    await camera.takes("counter")
    await clerk.enters()
    await page.locator("#link-state.success").wait_for()
    await page.get_by_role("link", name="Open de gastlener").click()
    guest = page.url
    await page.get_by_role("link", name="Contributie").click()
    await page.get_by_role("heading", name="Contributie").wait_for()
    await camera.takes("guest")
    with membership_ended(patrons, CARD):
        await page.get_by_role("button", name="Vraag thuisbibliotheek").click()
        await page.locator("#header.expired").wait_for()
    await clerk.opens(guest)
    await clerk.goes("Inschrijven")
    await camera.takes("reregistration")
    await clerk.enters()
    await clerk.opens(f"{counter}/")
    await clerk.enters(REFUSED_CARD)
    await clerk.enters(HOME_ISIL)
    await page.locator("#refusal").wait_for()
    await camera.takes("refusal")
    await clerk.opens(f"{counter}/beheer")
    await page.get_by_text("Deze pagina wordt vanzelf bijgewerkt.").wait_for()
    await camera.takes("operators")


async def at_the_catalogue(page: Page, wisecat: str) -> None:
    """Log in for the first time as the guest who was just registered."""
    await page.goto(wisecat)
    await page.locator(f"input[name=library][value='{GUEST_ORGANISATION}']").check()
    await page.get_by_role("button", name="Inloggen").click()
    await page.get_by_role("button", name=USERNAME).click()
    await page.get_by_role("heading", name="U bent herkend").wait_for()
    await Camera(page).takes("catalogue")


async def take_pictures(stack: RunningStack) -> None:
    """Make all pictures, in the order of the story."""
    addresses = stack.description
    async with open_browser() as browser:
        desk = await new_page(browser)
        await desk.set_viewport_size(SCREEN)
        await at_the_counter(desk, addresses["registration_url"], stack.run_dir / "home_library.json")
        home = await new_page(browser)
        await home.set_viewport_size(SCREEN)
        await at_the_catalogue(home, addresses["wisecat_url"])


def main() -> int:
    """Start a stack of its own, take the pictures, stop it. Return 0, or raise what went wrong."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stack = RunningStack(Path(folder) / "run", "feed")
        stack.start()
        try:
            asyncio.run(take_pictures(stack))
        finally:
            stack.kill_if_running()
    return 0


if __name__ == "__main__":
    sys.exit(main())
