"""The steps of the seed's story at the counter's pages, and how each page must read afterwards."""

from datetime import date

from playwright.async_api import expect

from infra.local.story_steps import dutch_date, header_of, last_of_the_month
from tests.support.browser import assert_accessible, screenshot
from tests.support.keyboard import Keyboard

HOME = "NL-070288"
FINES = "0990139339"
REFUSAL = "Gastlener kan niet worden ingeschreven: reden [ Klant is geblokkeerd ]"


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
    """Scanned, the ISIL typed, two boxes ticked, the account found by its username."""
    await clerk.enters(card)
    await expect(clerk.page.locator("h1")).to_have_text("Nieuwe klant toevoegen → Gastklant")
    await look.at("nieuwe-klant")
    await clerk.enters(HOME)
    await clerk.sees("Deze gegevens kunnen niet worden aangepast.")
    await expect(clerk.page.locator("#subscription_code")).to_have_value("346")
    await clerk.reaches("identity_document_checked")
    await clerk.presses("Space", "Tab", "Space")
    await look.only_at("gegevens")
    await clerk.reaches("username")
    await clerk.enters(username)
    await clerk.sees(f"{username}@voorbeeld.nl")
    assert await clerk.has_focus("Koppelen")
    await look.at("inlogaccount-gevonden")
    await clerk.enters()
    assert await clerk.has_focus("OK en Opslaan")
    await clerk.enters()


async def sees_linked(clerk: Keyboard, javascript: bool) -> None:
    """Told live; without JavaScript by looking again."""
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
    await clerk.presses("Shift+Tab", "Shift+Tab")
    assert await clerk.has_focus("patron_type")
    await clerk.presses("ControlOrMeta+a")
    await clerk.enters("05")
    await expect(clerk.page.locator("#refusal .alert-text")).to_have_text("Verander dit niet!")
    await look.only_at("klanttype-geweigerd")
    await clerk.presses("ControlOrMeta+a")
    await clerk.enters("04")
    await clerk.sees("Opnieuw ingeschreven: het abonnement is weer geldig.")


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
