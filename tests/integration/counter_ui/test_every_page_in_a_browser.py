"""The guest's pages beside the story, in a real browser: accessible each, and a scan presses no button."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from itertools import count
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from registration.application.repository import load_guest
from registration.bootstrap import view_source
from registration.domain.verdict import PatronDetails, Reason, Refused, Valid, Verdict
from registration.read_models import VIEWS
from shared.event_log import Metadata
from tests.integration.counter_ui.test_referrals import referral
from tests.support.browser import assert_accessible, new_page, open_browser, screenshot, sign_in
from tests.support.counter_pages import CounterSite, links_too_late, register
from tests.support.projections import follow_all
from tests.support.registration import JAN
from tests.support.registration_service import HOME, registering

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
TWIN = PatronDetails("Ada Twin", date(1968, 4, 17), "Brink 9, Groningen")
SHARED_PREFIX = """
INSERT INTO card_prefixes (prefix, isil, organisation_code, organisation, updated_on)
VALUES ('8447', 'NL-083485', 'C18', 'Nieuwegein', '2025-06-19')
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


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


# The browser's driver waits for the answer before it looks again, so a clerk in the page presses the button.
STOPS_WAITING = """() => {
    const status = document.getElementById("status");
    window.said = "";
    new MutationObserver(() => {
        const button = status.querySelector("#busy button");
        if (!button) return;
        window.said = status.innerText;
        button.click();
    }).observe(status, { childList: true });
}"""


async def test_a_slow_home_library_is_waited_for_in_sight_and_not_for_ever(
    counter_site: CounterSite, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, card, goes_on = counter_site.app.home, member(counter_site), asyncio.Event()
    ask = home.ask

    async def slowly(isil: str, card_number: str) -> Verdict:
        await goes_on.wait()
        return await ask(isil, card_number)

    monkeypatch.setattr(home, "ask", slowly)
    await page.get_by_label("Pasnummer").fill(card)
    await page.keyboard.press("Enter")
    await page.get_by_label("ISIL-code", exact=True).fill(HOME)
    await page.evaluate(STOPS_WAITING)
    await page.keyboard.press("Enter")
    await page.wait_for_function("window.said.includes('Even geduld')")
    await expect(page.get_by_text("Even geduld")).to_have_count(0)
    await expect(page.get_by_label("ISIL-code", exact=True)).to_have_value(HOME)
    goes_on.set()
    await page.get_by_role("button", name="Ok, Vervolg").press("Enter")
    await expect(page.get_by_role("main")).to_contain_text("Gegevens van de thuisbibliotheek")
    await expect(page.get_by_text("Even geduld")).to_have_count(0)


READS_OUT = """document.addEventListener("DOMContentLoaded", () => {
    const status = document.getElementById("status");
    const read = (changes) => changes.forEach((change) => change.addedNodes.forEach(
        (node) => { document.documentElement.dataset.readOut = node.textContent; }));
    if (status) new MutationObserver(read).observe(status, { childList: true });
})"""
COUNTS_WAITS = """() => {
    const set = window.setTimeout;
    window.waits = 0;
    window.setTimeout = (...asked) => { window.waits += 1; return set(...asked); };
}"""


async def test_what_was_done_is_read_out_and_opening_a_guest_is_waited_for_but_not_a_download(
    counter_site: CounterSite, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, guest = await registered(counter_site)
    home, goes_on = counter_site.app.home, asyncio.Event()
    await page.add_init_script(READS_OUT)
    await page.goto(guest)
    home.answers(HOME, card, Refused((Reason.EXPIRED,), because_ended=True))
    await page.get_by_role("button", name="Vraag thuisbibliotheek").click()
    said = "De thuisbibliotheek is gevraagd: het abonnement is beëindigd."
    await expect(page.locator("html")).to_have_attribute("data-read-out", said)
    ask = home.ask

    async def slowly(isil: str, card_number: str) -> Verdict:
        await goes_on.wait()
        return await ask(isil, card_number)

    monkeypatch.setattr(home, "ask", slowly)
    await page.evaluate(STOPS_WAITING)
    await page.get_by_role("link", name="Contributie").press("Enter")
    await page.wait_for_function("window.said.includes('Even geduld')")
    goes_on.set()
    await page.goto(f"{counter_site.address}/beheer/opzoekingen")
    await page.evaluate(COUNTS_WAITS)
    async with page.expect_download():
        await page.get_by_role("button", name="Alles als CSV").click()
    assert await page.evaluate("window.waits") == 0


async def test_the_patron_takes_a_note_along_on_one_small_sheet(
    counter_site: CounterSite, page: Page
) -> None:
    card, guest = await registered(counter_site)
    await page.goto(guest)
    await page.get_by_role("link", name="Briefje").click()
    await expect(page.get_by_role("button", name="Druk af")).to_be_focused()
    said = await page.get_by_role("article").inner_text()
    for part in ("Biblionet Drenthe", card, "Vervalt 31-12-2025", "125", "Vraag dat aan de balie"):
        assert part in said
    assert JAN.birth_date is not None
    assert not any(part in said for part in (JAN.name, str(JAN.birth_date.year), str(JAN.email)))
    await assert_accessible(page)
    await screenshot(page, "note")
    sheet = await page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", sheet)) == 1
    await page.emulate_media(media="print")
    await page.set_viewport_size({"width": 272, "height": 600})  # 72 mm, the width of a receipt
    assert await page.evaluate("document.documentElement.scrollWidth") <= 272
    assert await page.get_by_role("banner").is_visible() is False


async def test_r17_an_account_on_another_card_is_linked_by_keyboard_with_a_reason(
    counter_site: CounterSite, page: Page
) -> None:
    counter_site.app.accounts.opens("vader", "0550999999")
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        guest = (await clerk.post("/v1/guests", json=registering(member(counter_site)))).json()
    await page.goto(f"{counter_site.address}/gasten/{guest['guest_id']}?tab=inlogaccount")
    await page.get_by_label("Gebruikersnaam bij de thuisbibliotheek").fill("vader")
    await page.get_by_role("button", name="Zoeken").click()
    await expect(page.get_by_text("staat op een andere pas")).to_be_visible()
    await assert_accessible(page)
    await screenshot(page, "account-of-another-card")
    await expect(page.get_by_label("Reden")).to_be_focused()
    await page.keyboard.type("het account van de vader")
    async with page.expect_navigation():
        await page.get_by_role("button", name="Koppelen").click()
    await expect(page.get_by_role("main")).to_contain_text("Koppeling in behandeling")


async def test_the_pages_of_rarer_guests_are_accessible(counter_site: CounterSite, page: Page) -> None:
    linking = registering(card := member(counter_site))
    counter_site.app.accounts.opens("jan", card)
    linking["login_account"] = {"choice": "existing", "account_id": "acc-jan"}
    blocked, first, second, forgotten = (registering(member(counter_site)) for _ in range(4))
    bodies = (linking, blocked, first, second, forgotten)
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        ids = [(await clerk.post("/v1/guests", json=body)).json()["guest_id"] for body in bodies]
        counter_site.app.home.answers(
            HOME, blocked["card_number"], Refused((Reason.FINES,), because_ended=False)
        )
        assert (await clerk.post(f"/v1/guests/{ids[1]}/home-check")).json()["status"] == "suspended"
        merging = {"into": ids[3], "confirm": True}
        assert (await clerk.post(f"/v1/guests/{ids[2]}/merge", json=merging)).status_code == 200
    await _buttons_follow_a_refused_link(counter_site, page, ids[0])
    async with counter_site.app.client(iss=counter_site.issuer.url, scope="operator") as operator:
        assert (await operator.delete(f"/v1/guests/{ids[4]}/personal-data")).status_code == 204
    for path, name, says in (
        (f"{ids[0]}?tab=inlogaccount", "refused-link", "Niet gekoppeld"),
        (f"{ids[0]}?tab=meldingen", "messages", "Niet gekoppeld"),
        (f"{ids[0]}/ontkoppelen", "unlink", "Ontkoppelen"),
        (ids[1], "suspended", "Gastlener is geblokkeerd"),
        (f"{ids[1]}?tab=passen", "cards", "Chip verbeteren"),
        (f"{ids[1]}/chip", "chip", "Reden"),
        (ids[2], "merged-record", "Naar de gastlener"),
        (f"{ids[3]}?tab=contributie", "merged-rows", "Contributie"),
        (ids[4], "erased", "gewist"),
    ):
        await page.goto(f"{counter_site.address}/gasten/{path}")
        await expect(page.get_by_role("main")).to_contain_text(says)
        await assert_accessible(page)
        await screenshot(page, f"guest-{name}")
    await _two_actors_are_merged(counter_site, page, ids[0])


async def _two_actors_are_merged(counter_site: CounterSite, page: Page, guest_id: str) -> None:
    """A link that came too late has a way on."""
    await links_too_late(counter_site.app, f"/gasten/{guest_id}")
    await page.goto(f"{counter_site.address}/gasten/{guest_id}?tab=inlogaccount")
    await screenshot(page, "guest-too-late")
    await page.get_by_role("link", name="Inlogs samenvoegen").click()
    await assert_accessible(page)
    await screenshot(page, "guest-actor-merge")
    await page.get_by_label("Reden").fill("had al ingelogd")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status").first).to_have_text("De twee inlogs zijn samengevoegd.")
    await expect(page.locator("#link-state.success")).to_be_visible()
    await screenshot(page, "guest-actors-merged")


async def _buttons_follow_a_refused_link(counter_site: CounterSite, page: Page, guest_id: str) -> None:
    """Without a reload: what stood on the page before stays where it is."""
    await page.goto(f"{counter_site.address}/gasten/{guest_id}?tab=inlogaccount")
    await expect(page.get_by_role("link", name="Ontkoppelen")).to_be_visible()
    await assert_accessible(page)
    await screenshot(page, "guest-pending-link")
    await page.evaluate("window.notReloaded = true")
    deps = counter_site.app.service.deps
    guest = await load_guest(UUID(guest_id), "1001", deps)
    guest.refuse_link("acc-jan", "account-in-use", now=deps.clock.now())
    await deps.store.save(guest, metadata=Metadata("identity", uuid4()))
    await expect(page.get_by_role("button", name="Zoeken")).to_be_visible()
    await expect(page.get_by_role("link", name="Ontkoppelen")).to_have_count(0)
    assert await page.evaluate("window.notReloaded") is True


async def test_i12_the_page_of_a_referral_is_accessible(counter_site: CounterSite, page: Page) -> None:
    await page.goto(f"{counter_site.address}/doorverwezen?handle={referral(counter_site)}")
    await expect(page.get_by_label("Pasnummer")).to_be_focused()
    await assert_accessible(page)
    await screenshot(page, "referred")


async def test_all_sessions_end_from_the_page_behind_ones_own_name(
    counter_site: CounterSite, page: Page
) -> None:
    async with counter_site.signed_in("f.deboer") as elsewhere:
        await page.get_by_role("link", name="Femke de Boer").click()
        await assert_accessible(page)
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
    await page.get_by_role("link", name="Hulp (F1)").press("Enter")
    await expect(help_text).to_contain_text("Geen scanner?")
    await page.keyboard.press("F1")
    await expect(help_text).to_be_hidden()
    await expect(field).to_have_value("123")
    async with page.expect_navigation():
        await page.get_by_role("button", name="Begrepen").press("Enter")
    await expect(page.get_by_role("button", name="Begrepen")).to_have_count(0)


async def test_r2_r28_finding_a_library_and_a_likely_duplicate_are_accessible(
    counter_site: CounterSite, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registration.counter_ui.desk.GUESTS_A_PAGE", 1)
    monkeypatch.setattr("registration.adapters.card_prefixes.KEPT_SECONDS", 0)
    site, cards = counter_site.app, [f"0990177{number:03d}" for number in range(3)]
    async with site.client(iss=counter_site.issuer.url) as clerk:
        for card, person in zip(cards, (TWIN, replace(TWIN, name="Bo Twin"), TWIN), strict=True):
            site.home.answers(HOME, card, Valid(person, None, card))
            if card != cards[-1]:
                await clerk.post("/v1/guests", json=registering(card))
    await site.service.pool.execute(SHARED_PREFIX)
    await follow_all(site.service, VIEWS, view_source(site.service.settings))
    await page.get_by_label("Pasnummer").fill(cards[-1])
    await page.keyboard.press("Enter")
    await page.get_by_label("Zoek op cijfers van de pas").fill("fryslan")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Kies NL-083424")).to_be_focused()
    await expect(page.locator(".shared")).to_have_text("8447 (gedeeld)")
    await assert_accessible(page)
    await screenshot(page, "libraries")
    await page.get_by_label("ISIL-code", exact=True).fill("070288")
    await page.get_by_role("button", name="Ok, Vervolg").click()
    await expect(page.get_by_role("group", name="Lijkt op een gastlener")).to_be_visible()
    await assert_accessible(page)
    await screenshot(page, "likely-duplicate")
    await page.get_by_role("radio", name=cards[1]).check()
    await page.get_by_role("button", name="OK en Opslaan").press("Enter")
    await expect(page.get_by_role("status").first).to_contain_text("Het nieuwe pasnummer is bij deze")
    await page.goto(f"{counter_site.address}/zoeken")
    await page.get_by_label("Zoek op naam").fill("twin")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Volgende").click()
    await expect(page.get_by_role("button", name="Vorige")).to_be_visible()
    await assert_accessible(page)
    await screenshot(page, "search-second-page")
