"""What clerks met on the pages themselves, in a real browser: screens, colours, waiting, lists, paper."""

import re
from datetime import date
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from registration.application.check_term import check_term
from registration.application.dependencies import Context
from registration.domain.verdict import PatronDetails, Reason, Refused, Valid
from shared.event_log import Metadata
from shared.messaging.webhook_sender import Failure
from shared.messaging.webhook_state import WebhookState
from tests.integration.counter_ui.test_referrals import referral
from tests.support.browser import assert_accessible, assert_no_complaints, faults_of, screenshot
from tests.support.counter_browser import (
    PAGES,
    STOPS_WAITING,
    enters,
    guest_of,
    is_asked_to_wait,
    number_of,
    opens,
    presses,
    scans,
    sees,
    silent_home,
    status_line,
    with_account,
)
from tests.support.counter_pages import CounterSite, followed, is_person, links_too_late, member
from tests.support.guest_pages import Guest, identity_refuses
from tests.support.messaging import HARMLESS, park_guest
from tests.support.registration_service import HOME, JAN

pytestmark = pytest.mark.asyncio(loop_scope="module")
FINES = Refused((Reason.FINES,), because_ended=False)
ENDED = Refused((Reason.EXPIRED,), because_ended=True)
SEARCH = "Zoek op naam, pas, geboortedatum of gebruikersnaam"
REFUSED = ("/scan", "/aanmelden/verlopen")
"""The pages that are looked at when they say what went wrong."""
TABS = ("contributie", "inlogaccount", "passen", "meldingen", "historie")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shown(counter_site: CounterSite, desk: Page) -> dict[str, dict[str, list[str]]]:
    """What is wrong with each page there is, by how it is shown."""
    addresses = await every_address(counter_site, desk)
    assert addresses.keys() == set(PAGES), "each page is looked at"
    found = {}
    for each in [address for of_page in addresses.values() for address in of_page]:
        await desk.goto(counter_site.address + each)
        assert_no_complaints(desk)
        assert (await desk.locator(".reference").count() > 0) is (each.partition("?")[0] in REFUSED), each
        found[each.partition("?concept")[0]] = await faults_of(desk)
    return found


async def every_address(counter_site: CounterSite, desk: Page) -> dict[str, list[str]]:
    """Where each page is: those of a guest with a linked account, of one that is parked, and of drafts."""
    _, guest = await with_account(counter_site, "lezer")
    _, other = await with_account(counter_site, "jan", linked=False)
    await links_too_late(counter_site.app, other)
    await park_guest(counter_site.app.service.pool, HARMLESS, guest_id=number_of(other))
    webhooks = WebhookState(counter_site.app.service.pool)
    await webhooks.is_stopped("catalogus")  # makes its row
    await webhooks.park("catalogus", (number_of(other), 1, 1), Failure("it answered 422", refused=True))
    await webhooks.stop("catalogus", "it answered 410")
    await followed(counter_site)
    of_guest = ("/briefje", "/chip", "/ingeschreven", "/ontkoppelen", "/uitschrijven", "/wissen")
    return {
        **await addresses_of_drafts(counter_site, desk, guest),
        **{f"/gasten/{{guest_id:uuid}}{path}": [guest + path] for path in of_guest},
        "/gasten/{guest_id:uuid}": [guest, *(f"{guest}?tab={tab}" for tab in TABS)],
        "/gasten/{guest_id:uuid}/inschrijven": [f"{await expired(counter_site)}/inschrijven"],
        "/gasten/{guest_id:uuid}/inlogs-samenvoegen": [f"{other}/inlogs-samenvoegen"],
        "/gasten/{guest_id}/ontdubbelen": [f"{guest}/ontdubbelen"],
        "/gasten/{guest_id}/ontdubbelen/{into}": [f"{guest}/ontdubbelen/{number_of(other)}"],
        "/doorverwezen": [f"/doorverwezen?handle={referral(counter_site)}"],
        "/gasten": ["/gasten?lijst=vandaag"],
        "/beheer/gasten/{guest_id}": [f"/beheer/gasten/{number_of(guest)}"],
        "/beheer/geparkeerd/{guest_id}": [f"/beheer/geparkeerd/{number_of(other)}"],
        "/beheer/thuisbibliotheken/{isil}": [f"/beheer/thuisbibliotheken/{HOME}"],
        "/beheer/webhooks/{name}": ["/beheer/webhooks/catalogus"],
        "/beheer/weergaven/{name}": ["/beheer/weergaven/history"],
        **{path: [path] for path in ("/", "/afmelden", "/aanmelden/verlopen", "/gasten/nieuw")},
        **{
            f"/beheer{path}": [f"/beheer{path}"]
            for path in ("", "/instellingen", "/opzoekingen", "/pasnummers", "/webhooks")
        },
    }


async def addresses_of_drafts(counter_site: CounterSite, desk: Page, guest: str) -> dict[str, list[str]]:
    """The pages that show what was filled in, filled in."""
    found = {}

    def keep(path: str) -> None:
        found[path] = [desk.url.removeprefix(counter_site.address)]

    await scans(desk, counter_site, "pas!")
    keep("/scan")
    await opens(desk, counter_site, "/zoeken")
    await enters(desk, SEARCH, "jansen")
    keep("/zoeken")
    await opens(desk, counter_site, f"{guest}/ontdubbelen")
    await enters(desk, "Zoek de andere inschrijving op naam, pas, geboortedatum of gebruikersnaam", "jansen")
    keep("/gasten/{guest_id}/ontdubbelen/zoeken")
    await scans(desk, counter_site, member(counter_site))
    await enters(desk, "Zoek op cijfers van de pas, naam, plaats of ISIL-code", "fryslan")
    keep("/gasten/nieuw/bibliotheek")
    await enters(desk, "ISIL-code", HOME)
    keep("/gasten/nieuw/gegevens")
    return found


async def expired(counter_site: CounterSite) -> str:
    """The path of a guest whose membership at home ended, and is valid again."""
    card, guest = await guest_of(counter_site)
    counter_site.app.home.answers(HOME, card, ENDED)
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        await clerk.post(f"/v1/guests/{number_of(guest)}/home-check")
    is_person(counter_site, card, card)
    return guest


def faults(shown: dict[str, dict[str, list[str]]], *modes: str) -> dict[str, list[str]]:
    """What is wrong in these modes, by page."""
    assert shown
    assert all(mode in found for found in shown.values() for mode in modes)
    wrong = {page: [fault for mode in modes for fault in found[mode]] for page, found in shown.items()}
    return {page: found for page, found in wrong.items() if found}


async def test_no_page_scrolls_sideways_from_320_pixels(shown: dict[str, dict[str, list[str]]]) -> None:
    """On a phone of 390 pixels the details were 485 wide, a search 513 and a guest 401."""
    assert faults(shown, *(f"{width} pixels wide" for width in (320, 390, 683, 1366))) == {}


async def test_a_silent_home_library_is_waited_for_in_sight_and_can_be_cancelled(
    counter_site: CounterSite, desk: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 5.3 seconds there was no sign that anything happened."""
    card, goes_on = member(counter_site), silent_home(counter_site, monkeypatch)
    isil = desk.get_by_label("ISIL-code", exact=True)
    await scans(desk, counter_site, card)
    await isil.fill(HOME)
    await desk.evaluate(STOPS_WAITING)
    await desk.keyboard.press("Enter")
    await is_asked_to_wait(desk)
    assert max(await desk.evaluate("window.waits")) <= 300, "milliseconds until there is a sign"
    await expect(desk.get_by_text("Even geduld")).to_have_count(0)
    await expect(isil).to_have_value(HOME)
    goes_on.set()
    await presses(desk, "Ok, Vervolg")
    await sees(desk, "Gegevens van de thuisbibliotheek")
    await expect(desk.get_by_text("Even geduld")).to_have_count(0)


async def test_language_and_branch_are_changed_in_the_middle_of_a_form(
    counter_site: CounterSite, desk: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form was lost."""
    of_drenthe = counter_site.app.service.deps.organisations["1001"]
    monkeypatch.setitem(of_drenthe.branches, "9300", "Assen")
    await scans(desk, counter_site, member(counter_site))
    await enters(desk, "ISIL-code", HOME)
    await desk.get_by_label("De pas heeft een chip").check()
    await desk.get_by_label("Nieuw inlogaccount genereren").check()
    await desk.get_by_label("Nieuwe gebruikersnaam").fill("half.getypt")
    await presses(desk, "English")
    await expect(desk.get_by_label("New username")).to_have_value("half.getypt")
    await desk.locator("#desk-branch").select_option("9300")
    await presses(desk, "Switch")
    await expect(desk.locator("#desk-branch")).to_have_value("9300")
    await presses(desk, "Nederlands")
    await expect(desk.get_by_label("Nieuwe gebruikersnaam")).to_have_value("half.getypt")
    await expect(desk.get_by_label("De pas heeft een chip")).to_be_checked()
    await desk.locator("#desk-branch").select_option("9453")
    await presses(desk, "Wissel")


async def test_a_search_has_a_total_pages_both_ways_by_alphabet_days_in_usual_forms_and_usernames(
    counter_site: CounterSite, desk: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No total, no way back, no order; `17041968` was not understood, and no username."""
    monkeypatch.setattr("registration.counter_ui.desk.GUESTS_A_PAGE", 2)
    people = ["Ada Zwart", "Bo Zwart", "Cas Zwart", "Dirk Zwart", "Eva Zwart"]
    cards = {name: member(counter_site) for name in reversed(people)}
    account_id = counter_site.app.accounts.opens("a.zwart", cards["Ada Zwart"])
    for name, card in cards.items():
        counter_site.app.home.answers(HOME, card, Valid(PatronDetails(name, date(1968, 4, 17)), None, card))
        account = {"choice": "existing", "account_id": account_id}
        chosen = account if name == "Ada Zwart" else {"choice": "none"}
        _, guest = await guest_of(counter_site, card, login_account=chosen)
    await counter_site.app.links(number_of(guest), account_id)
    await followed(counter_site)
    names = desk.locator(".guests strong")
    await opens(desk, counter_site, "/zoeken")
    await enters(desk, SEARCH, "zwart")
    for button, page in (("", [0, 2]), ("Volgende", [2, 4]), ("Volgende", [4, 5]), ("Vorige", [2, 4])):
        if button:
            await presses(desk, button)
        await expect(desk.get_by_role("heading", name="5 gastleners gevonden")).to_be_visible()
        await expect(names).to_have_text(people[slice(*page)])
    await presses(desk, "Vorige")
    await expect(desk.get_by_role("button", name="Vorige")).to_have_count(0)
    await expect(desk.get_by_role("link", name="Ada Zwart")).to_be_focused()
    for typed in ("17041968", "17-4-1968", "zwart 17 april 1968", "1968-04-17"):
        await enters(desk, SEARCH, typed)
        await expect(desk.get_by_role("heading", name="5 gastleners gevonden")).to_be_visible()
    await enters(desk, SEARCH, "a.zwart")
    await expect(names).to_have_text(["Ada Zwart"])


async def test_the_history_names_staff_in_the_language_of_the_page_and_what_home_caused(
    counter_site: CounterSite, desk: Page
) -> None:
    """Logins (`m.visser`), English reasons, and an expiry credited to the clerk who only asked."""
    card, guest = await guest_of(counter_site)
    home, deps = counter_site.app.home, counter_site.app.service.deps
    home.answers(HOME, card, FINES)
    await check_term(number_of(guest), Context("1001", Metadata("nightly", uuid4())), deps)
    is_person(counter_site, card, card)
    await check_term(number_of(guest), Context("1001", Metadata("j.smit", uuid4())), deps)  # `--by j.smit`
    home.answers(HOME, card, ENDED)
    await opens(desk, counter_site, guest)
    await presses(desk, "Vraag thuisbibliotheek")
    await followed(counter_site)
    await opens(desk, counter_site, f"{guest}?tab=historie")
    asked_by, fines = "thuisbibliotheek, gevraagd door", "er staat een boete te lang open"
    cells = desk.locator("#history tbody tr:nth-child(-n+3) td:not(.moment)")
    await expect(cells).to_have_text(
        [
            *("Abonnement opgezegd", f"{asked_by} Femke de Boer", "overig"),
            *("Blokkade opgeheven", f"{asked_by} j.smit", ""),
            *("Geblokkeerd", f"{asked_by} de nachtelijke controle", fines),
        ]
    )
    async with counter_site.signed_in("j.smit"):
        await desk.reload()
    await expect(cells.nth(4)).to_have_text(f"{asked_by} Jeroen Smit")
    await presses(desk, "English")
    await opens(desk, counter_site, f"{guest}?tab=historie")
    await expect(cells.nth(7)).to_have_text("home library, asked by the nightly check")
    await expect(cells.nth(8)).to_have_text("a fine has been open for too long")
    await presses(desk, "Nederlands")


async def test_an_expired_guest_and_a_refused_link_show_what_holds_now(
    counter_site: CounterSite, desk: Page
) -> None:
    """The provisional term was still there, and "Ontkoppelen" after a refused link until a reload."""
    card, guest = await with_account(counter_site, "jan", linked=False)
    await opens(desk, counter_site, f"{guest}?tab=inlogaccount")
    await expect(desk.get_by_role("link", name="Ontkoppelen")).to_be_visible()
    await assert_accessible(desk)
    await desk.evaluate("window.notReloaded = true")
    await desk.get_by_role("link", name="Ontkoppelen").focus()
    await identity_refuses(Guest(counter_site, guest, card), "acc-jan")
    await expect(desk.get_by_role("button", name="Zoeken")).to_be_visible()
    await expect(desk.get_by_role("link", name="Ontkoppelen")).to_have_count(0)
    await expect(desk.locator("#link-actions :focus")).to_have_count(1)
    assert await desk.evaluate("window.notReloaded") is True

    await desk.get_by_role("link", name="Contributie").press("Enter")
    await sees(desk, "11-09-2025 – 11-12-2025 (voorlopig)")
    counter_site.app.home.answers(HOME, card, ENDED)
    await presses(desk, "Vraag thuisbibliotheek")
    await desk.get_by_role("link", name="Contributie").press("Enter")
    await expect(desk.locator("dt:text-is('Beëindigd op') + dd")).to_have_text("11-09-2025")
    await expect(desk.get_by_role("main")).not_to_contain_text("voorlopig")


async def test_what_the_patron_is_told_changes_when_the_link_is_refused(
    counter_site: CounterSite, desk: Page
) -> None:
    """Under the refusal it still said that logging in works."""
    card, guest = await with_account(counter_site, "jan", linked=False)
    await opens(desk, counter_site, f"{guest}/ingeschreven")
    await expect(desk.locator("#advice")).to_contain_text("met dezelfde gebruikersnaam")
    await identity_refuses(Guest(counter_site, guest, card), "acc-jan")
    await expect(desk.locator("#advice")).to_contain_text("Inloggen kan hier nog niet")


def is_a6(sheet: bytes) -> bool:
    """Whether the first page of this PDF is of 105 × 148 mm."""
    [width, height] = re.findall(rb"/MediaBox\s*\[\s*0\s+0\s+([\d.]+)\s+([\d.]+)", sheet)[0]
    return (round(float(width) / 72 * 25.4), round(float(height) / 72 * 25.4)) == (105, 148)


async def test_the_patron_takes_a_note_along_on_one_small_sheet(
    counter_site: CounterSite, desk: Page
) -> None:
    """There was nothing to hand over on paper."""
    card, guest = await guest_of(counter_site)
    await opens(desk, counter_site, guest)
    await desk.get_by_role("link", name="Briefje").press("Enter")
    await expect(desk.get_by_role("button", name="Druk af")).to_be_focused()
    said = await desk.get_by_role("article").inner_text()
    for part in ("Biblionet Drenthe", card, "Vervalt 31-12-2025", "125", "Vraag dat aan de balie"):
        assert part in said
    assert JAN.birth_date is not None
    assert not any(part in said for part in (JAN.name, str(JAN.birth_date.year), str(JAN.email)))
    await screenshot(desk, "note")
    sheet = await desk.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", sheet)) == 1
    assert is_a6(sheet)
    size = desk.viewport_size
    await desk.emulate_media(media="print")
    await desk.set_viewport_size({"width": 272, "height": 600})  # 72 mm, the width of a receipt
    assert await desk.evaluate("document.documentElement.scrollWidth") <= 272
    assert await desk.get_by_role("banner").is_visible() is False
    await desk.emulate_media(media="null")
    assert size is not None
    await desk.set_viewport_size(size)
    await opens(desk, counter_site, guest)
    assert not is_a6(await desk.pdf(prefer_css_page_size=True)), "only the note is so small"


async def test_a_wrong_tick_for_the_chip_is_corrected_on_the_guest_page_with_a_reason(
    counter_site: CounterSite, desk: Page
) -> None:
    """It could not be corrected."""
    _, guest = await guest_of(counter_site, card_has_chip=True)
    await opens(desk, counter_site, guest)
    await desk.get_by_role("link", name="Passen").press("Enter")
    await sees(desk, "ja: zelfservice en balie")
    await desk.get_by_role("link", name="Chip verbeteren").press("Enter")
    await expect(desk.get_by_label("Reden")).to_be_focused()
    await desk.keyboard.type("verkeerd aangevinkt")
    await presses(desk)
    await expect(status_line(desk)).to_have_text("De pas heeft geen chip: lenen kan alleen aan de balie.")
    await sees(desk, "nee: alleen aan de balie")
    await followed(counter_site)
    await desk.get_by_role("link", name="Historie").press("Enter")
    corrected = desk.get_by_role("row", name="Chip van de pas verbeterd")
    await expect(corrected).to_contain_text("verkeerd aangevinkt")
    await expect(corrected).to_contain_text("Femke de Boer")


async def test_every_page_is_readable_in_dark_rooms_and_in_forced_colours(
    desk: Page, shown: dict[str, dict[str, list[str]]]
) -> None:
    """There was no dark mode, and contrast in forced colours was undecided."""
    assert faults(shown, "in the dark", "in forced colours") == {}
    background = "getComputedStyle(document.body).backgroundColor"
    light = await desk.evaluate(background)
    await desk.emulate_media(color_scheme="dark")
    assert await desk.evaluate(background) != light
    await desk.emulate_media(color_scheme="null")
