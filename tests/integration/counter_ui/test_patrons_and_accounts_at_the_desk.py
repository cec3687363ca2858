"""What clerks met with patrons and login accounts, in a real browser: keys, what is shown, the focus."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from playwright.async_api import Browser, Page, Request, expect

from registration.domain.verdict import NotFound, PatronDetails, Reason, Refused, Valid
from tests.support.browser import assert_accessible, new_page, screenshot, sign_in
from tests.support.counter_browser import (
    READS_OUT,
    USERNAME,
    enters,
    guest_of,
    is_read_out,
    later,
    number_of,
    opens,
    presses,
    scans,
    sees,
    status_line,
    with_account,
)
from tests.support.counter_pages import CounterSite, followed, is_person, links_too_late, member
from tests.support.guest_pages import Guest, identity_refuses
from tests.support.messaging import HARMLESS, park_guest
from tests.support.registration_service import FRYSLAN, HOME, JAN

pytestmark = pytest.mark.asyncio(loop_scope="module")
FINES = Refused((Reason.FINES,), because_ended=False)
UNTIL = date(2026, 12, 31)


def lives_at(card: str, address: str = "Nieuwe weg 2, Assen") -> Valid:
    """The home library's reply about a patron who moved there."""
    return Valid(replace(JAN, address=address), UNTIL, card)


async def test_an_account_on_another_card_needs_a_reason_and_a_taken_one_names_its_guest(
    counter_site: CounterSite, desk: Page
) -> None:
    """Another person's account was saved in green; its rightful guest read "already linked", not to whom."""
    app, fathers_card = counter_site.app, member(counter_site)
    account_id = app.accounts.opens("vader", fathers_card)
    card, child = await guest_of(counter_site)
    await opens(desk, counter_site, f"{child}?tab=inlogaccount")
    await enters(desk, USERNAME, "vader")
    await sees(desk, "vader@example.org", f"op een andere pas dan die van de klant: {card}, {JAN.name}.")
    await expect(desk.get_by_label("Reden")).to_be_focused()
    await assert_accessible(desk)
    await screenshot(desk, "account-of-another-card")
    async with app.nothing_written():
        await presses(desk, "Koppelen")
        await expect(desk.get_by_label("Reden")).to_have_accessible_description(
            "Vul in waarom dit inlogaccount bij deze klant hoort."
        )
    await desk.keyboard.type("het account van de vader")
    await presses(desk, "Koppelen")
    await sees(desk, "Koppeling in behandeling")
    await app.links(number_of(child), account_id)
    await followed(counter_site)
    await opens(desk, counter_site, f"{child}?tab=historie")
    await sees(desk, "het account van de vader")

    _, father = await guest_of(counter_site, fathers_card)
    await opens(desk, counter_site, f"{father}?tab=inlogaccount")
    await enters(desk, USERNAME, "vader")
    await expect(desk.get_by_role("button", name="Koppelen")).to_be_focused()  # the own card's: one more key
    await presses(desk)
    await identity_refuses(Guest(counter_site, father, fathers_card), account_id)
    await sees(desk, "dit inlogaccount is al aan een andere gastlener gekoppeld")
    await desk.get_by_text("Dit inlogaccount is van").get_by_role("link", name=JAN.name).press("Enter")
    await desk.wait_for_url(f"**{child}")


async def test_a_linked_account_is_named_on_the_guest_page_in_the_history_and_in_the_merge_preview(
    counter_site: CounterSite, desk: Page
) -> None:
    """Neither username nor e-mail was shown; the merge preview had the account's id."""
    (_, guest), (_, other) = await with_account(counter_site, "lezer.een"), await guest_of(counter_site)
    await opens(desk, counter_site, f"{guest}?tab=inlogaccount")
    await expect(desk.locator("#linked-account dd")).to_have_text(["lezer.een", "lezer.een@example.org"])
    await followed(counter_site)
    await desk.get_by_role("link", name="Historie").press("Enter")
    await expect(desk.get_by_role("row", name="Inlogaccount gekoppeld")).to_contain_text("lezer.een")
    await opens(desk, counter_site, f"{guest}/ontdubbelen/{number_of(other)}")
    await expect(desk.get_by_role("row", name="Inlogaccount")).to_contain_text(
        "lezer.een (lezer.een@example.org)"
    )
    await expect(desk.get_by_role("main")).not_to_contain_text("acc-lezer")


async def test_asking_home_refreshes_the_details_and_says_what_home_answered_and_when(
    counter_site: CounterSite, desk: Page
) -> None:
    """A new address stayed the old one, an unknown card "did not answer", a valid answer showed nothing."""
    card, guest = await guest_of(counter_site)
    home, answer = counter_site.app.home, desk.locator("#thuisbibliotheek")
    await opens(desk, counter_site, guest)
    for verdict, says in (
        (lives_at(card), "De thuisbibliotheek antwoordde: geldig. Veranderd: het adres."),
        (lives_at(card), "De thuisbibliotheek antwoordde: geldig. Er is niets veranderd."),
        (NotFound(), "De thuisbibliotheek kent deze pas niet (meer)."),
    ):
        home.answers(HOME, card, verdict)
        await presses(desk, "Vraag thuisbibliotheek")
        await expect(answer).to_contain_text(says)
        await expect(answer).to_contain_text("Gevraagd op 11-09-2025 12:00.")
        await sees(desk, "Nieuwe weg 2, Assen")


async def test_one_line_after_every_action_is_read_out(counter_site: CounterSite, desk: Page) -> None:
    """Re-registration, merge, unlink and retry: nothing said that they had been done."""
    card, guest = await with_account(counter_site, "lezer.twee")
    await desk.add_init_script(READS_OUT)
    await opens(desk, counter_site, f"{guest}/ontkoppelen")
    await enters(desk, "Reden", "account van een ouder")
    await is_read_out(desk, "Het inlogaccount is ontkoppeld.")
    counter_site.app.home.answers(HOME, card, Refused((Reason.EXPIRED,), because_ended=True))
    await presses(desk, "Vraag thuisbibliotheek")
    await is_read_out(desk, "De thuisbibliotheek is geraadpleegd: het abonnement is beëindigd.")
    is_person(counter_site, card, card)
    await desk.get_by_role("link", name="Inschrijven").press("Enter")
    await presses(desk, "OK en Opslaan")
    await is_read_out(desk, "Heringeschreven: het abonnement is weer geldig.")
    await park_guest(counter_site.app.service.pool, HARMLESS, guest_id=number_of(guest))
    await opens(desk, counter_site, "/beheer")
    await presses(desk, "Opnieuw proberen")
    await is_read_out(desk, "De berichten van deze gastlener zijn verwerkt (2).")
    is_person(counter_site, second := member(counter_site), card)
    _, other = await guest_of(counter_site, second, not_same_as=[str(number_of(guest))])
    await opens(desk, counter_site, f"{other}/ontdubbelen/{number_of(guest)}")
    await presses(desk, "Samenvoegen")
    await is_read_out(desk, "De twee inschrijvingen zijn samengevoegd.")


async def test_a_blocked_guest_shows_the_reason_and_what_the_patron_has_to_do(
    counter_site: CounterSite, desk: Page
) -> None:
    """There was no reason, no next step, and still "Vervalt"."""
    card, guest = await guest_of(counter_site)
    counter_site.app.home.answers(HOME, card, FINES)
    await opens(desk, counter_site, guest)
    await expect(desk.locator("#expiry")).to_have_text("Vervalt 31-12-2025")
    await presses(desk, "Vraag thuisbibliotheek")
    await expect(desk.locator("#header")).to_have_text("gastleen abonnement  Geblokkeerd")
    await expect(desk.locator("#card-notice")).to_have_text("Pas niet geldig!")
    blocked = desk.get_by_role("alert")
    await expect(blocked).to_contain_text(
        "Gastlener is geblokkeerd: reden [ er staat een boete te lang open ]"
    )
    await expect(blocked).to_contain_text("De klant moet contact opnemen met de eigen bibliotheek.")
    await expect(desk.get_by_role("main")).not_to_contain_text("Vervalt")


async def test_back_and_reload_never_ask_to_send_a_form_again(counter_site: CounterSite, desk: Page) -> None:
    """The browser asked to confirm a resubmission, from a search and from the details of a new guest."""
    card, sent = member(counter_site), list[str]()

    def note(request: Request) -> None:
        if request.is_navigation_request() and request.method != "GET":
            sent.append(request.url)

    await opens(desk, counter_site, "/zoeken")
    await enters(desk, "Zoek op naam, pas, geboortedatum of gebruikersnaam", "niemandsland")
    search = desk.url
    await scans(desk, counter_site, card)
    await enters(desk, "ISIL-code", HOME)
    await enters(desk, USERNAME, "niet.gevonden")
    await expect(desk.get_by_label(USERNAME)).to_have_value("niet.gevonden")
    desk.on("request", note)
    async with counter_site.app.nothing_written():
        await desk.reload()
        await desk.go_back()
        await sees(desk, "Gegevens van de thuisbibliotheek")
        await desk.reload()
        await desk.go_forward()
        await expect(desk.get_by_label(USERNAME)).to_have_value("niet.gevonden")
        while desk.url != search:
            await desk.go_back()
        await desk.reload()
    await sees(desk, "Niemand gevonden.")
    await expect(desk.get_by_role("searchbox")).to_have_value("niemandsland")
    desk.remove_listener("request", note)
    assert sent == []


async def test_a_session_that_is_over_is_signed_in_again_and_the_form_is_as_it_was(
    counter_site: CounterSite, desk: Page
) -> None:
    """A 403 said that the form had expired, and all that was filled in was lost."""
    await scans(desk, counter_site, member(counter_site))
    await enters(desk, "ISIL-code", HOME)
    await desk.get_by_label("Legitimatiebewijs gezien").check()
    await desk.get_by_label("Nieuw inlogaccount genereren").check()
    await desk.get_by_label("Nieuwe gebruikersnaam").fill("half.getypt")
    await desk.get_by_label("E-mailadres", exact=True).fill("half@example.org")
    with later(counter_site, timedelta(minutes=61)):
        async with counter_site.app.nothing_written():
            await presses(desk, "OK en Opslaan")
            await sees(desk, "Er is nog niets opgeslagen, maar wat u heeft ingevuld is bewaard.")
            await desk.get_by_role("link", name="Aanmelden").press("Enter")
            await desk.get_by_role("button", name="Femke de Boer").press("Enter")
            await expect(status_line(desk)).to_contain_text("druk nog eens op de knop")
        await expect(desk.get_by_label("Legitimatiebewijs gezien")).to_be_checked()
        await expect(desk.get_by_label("Nieuwe gebruikersnaam")).to_have_value("half.getypt")
        await expect(desk.get_by_label("E-mailadres", exact=True)).to_have_value("half@example.org")
        await presses(desk, "OK en Opslaan")
        await expect(desk.get_by_role("heading", name="De klant is ingeschreven")).to_be_visible()
    await sign_in_again(desk, counter_site)


async def sign_in_again(desk: Page, counter_site: CounterSite) -> None:
    """The session that was made in the future is not for today."""
    await desk.context.clear_cookies()
    await sign_in(desk, counter_site.address, "Femke de Boer")


SHARED_PREFIX = """
INSERT INTO card_prefixes (prefix, isil, organisation_code, organisation, updated_on)
VALUES ('8447', 'NL-083485', 'C18', 'Nieuwegein', '2025-06-19')
"""


async def test_a_library_is_found_in_the_manuals_table_by_digits_name_or_isil(
    counter_site: CounterSite, desk: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six identical names, digits that found nothing, libraries that cannot be asked, `070288` refused."""
    monkeypatch.setattr("registration.adapters.card_prefixes.KEPT_SECONDS", 0)
    await counter_site.app.service.pool.execute(SHARED_PREFIX)
    search, rows = (
        "Zoek op cijfers van de pas, naam, plaats of ISIL-code",
        desk.locator(".libraries tbody tr"),
    )
    counter_site.app.member(card := "0770000001", FRYSLAN)  # its prefix is of a library that cannot be asked
    await scans(desk, counter_site, card)
    await enters(desk, search, "fryslan")
    await expect(desk.get_by_role("button", name=f"Kies {FRYSLAN}")).to_be_focused()
    columns = ["Kiezen", "Org.", "Naam", "ISIL", "Laatste update", "Pasnummers"]
    await expect(desk.locator(".libraries thead th")).to_have_text(columns)
    await expect(rows.first).to_contain_text("19-06-2025")
    await expect(desk.locator(".shared")).to_have_text("8447 (gedeeld)")
    await expect(desk.locator(".shared")).to_have_css("color", "rgb(163, 18, 27)")
    await assert_accessible(desk)
    offered = await rows.get_by_role("button").count()
    assert (offered, await rows.get_by_text("niet aangesloten").count()) == (1, await rows.count() - 1)
    for typed in ("8415", "0841500001", "nl-087041"):
        await enters(desk, search, typed)
        await expect(rows.locator(".isil")).to_have_text(["NL-087041"])
    await enters(desk, "ISIL-code", "083424")
    library = desk.locator("dt:text-is('Thuisbibliotheek') + dd")
    await expect(library).to_contain_text(f"Bibliotheekservice Fryslân {FRYSLAN}")


async def test_a_new_username_is_checked_while_it_is_typed_and_the_patron_hears_how_to_log_in(
    counter_site: CounterSite, desk: Page
) -> None:
    """A taken name was told after the save, under a green heading; `a@b` and `<b>x</b> "q"` were accepted."""
    counter_site.app.accounts.opens("bezet", "0550999998")
    username, said = desk.get_by_label("Nieuwe gebruikersnaam"), desk.locator("#new_username-said")
    email = desk.get_by_label("E-mailadres", exact=True)
    await scans(desk, counter_site, member(counter_site))
    await enters(desk, "ISIL-code", HOME)
    await desk.get_by_label("Nieuw inlogaccount genereren").check()
    await expect(email).to_have_value(str(JAN.email))
    await expect(said).to_have_css("display", "block")  # a screen reader follows it before anything is said
    for typed, says in (("bezet", "al in gebruik"), ('<b>x</b> "q"', "letters en cijfers")):
        await username.fill("")
        await username.press_sequentially(typed)
        await expect(said).to_contain_text(says)
    await assert_accessible(desk)
    async with counter_site.app.nothing_written():
        await username.fill("bezet")
        await presses(desk, "OK en Opslaan")
        await expect(username).to_be_focused()
        await expect(username).to_have_attribute("aria-invalid", "true")
        await username.fill("nog.vrij")
        await email.fill("a@b")
        await presses(desk, "OK en Opslaan")
        await sees(desk, "Vul een geldig e-mailadres in, zoals naam@voorbeeld.nl.")
        await email.fill("thuis niet bekend")
        await desk.get_by_label("Bestaand inlogaccount gebruiken").check()
        await presses(desk, "Zoeken")  # a field that is hidden holds up no form, whatever is in it
        await sees(desk, "Vul de gebruikersnaam van het inlogaccount")
        await desk.get_by_label("Nieuw inlogaccount genereren").check()
    await email.fill("jan@example.org")
    await presses(desk)
    await sees(
        desk, "De klant is ingeschreven", "Kies de eerste keer bij het inloggen voor ‘wachtwoord vergeten’"
    )
    await screenshot(desk, "counter-new-account-saved")


async def test_a_link_that_came_too_late_has_a_way_on_or_says_whom_to_ask(
    counter_site: CounterSite, desk: Page, browser: Browser
) -> None:
    """ "Te laat gekoppeld" was the end of it."""
    _, guest = await with_account(counter_site, "jan", linked=False)
    await links_too_late(counter_site.app, guest)
    colleague = await new_page(browser)
    await sign_in(colleague, counter_site.address)
    await opens(colleague, counter_site, f"{guest}?tab=inlogaccount")
    await sees(colleague, "Te laat gekoppeld", "Vraag een collega met het recht op inlogaccounts")
    await expect(colleague.get_by_role("link", name="Inlogs samenvoegen")).to_have_count(0)
    await colleague.context.close()
    await opens(desk, counter_site, f"{guest}?tab=inlogaccount")
    await desk.get_by_role("link", name="Inlogs samenvoegen").press("Enter")
    await expect(desk.get_by_role("row", name="Eerste keer hier ingelogd")).to_contain_text(
        "01-09-2025 11:30"
    )
    await expect(desk.get_by_label("Reden")).to_be_focused()
    await desk.keyboard.type("had al ingelogd")
    await presses(desk)
    await expect(status_line(desk)).to_have_text("De twee inlogs zijn samengevoegd.")
    await expect(desk.locator("#link-state.success")).to_be_visible()


async def test_a_patron_who_looks_like_a_guest_is_shown_before_saving(
    counter_site: CounterSite, desk: Page
) -> None:
    """A second card with the same name, birth date and address gave no warning."""
    known, guest = await guest_of(counter_site)
    await followed(counter_site)
    likely = desk.get_by_role("group", name="Lijkt op een gastlener die hier al is ingeschreven")
    for choice, says in (
        (f"Dezelfde: {JAN.name}", "Het nieuwe pasnummer is bij deze gastlener bewaard"),
        ("Iemand anders", "De inschrijving is opgeslagen."),
    ):
        is_person(counter_site, card := member(counter_site), known)
        await scans(desk, counter_site, card)
        await enters(desk, "ISIL-code", HOME)
        await expect(likely).to_contain_text(JAN.name)
        async with counter_site.app.nothing_written():
            await desk.get_by_label("Nee, geen inlogaccount").check()
            await presses(desk, "OK en Opslaan")
            await sees(desk, "Is het dezelfde persoon?")
            await expect(likely.get_by_role("radio").first).to_be_focused()
            if choice == "Iemand anders":
                await assert_accessible(desk)
        await likely.get_by_role("radio", name=choice).check()
        await presses(desk, "OK en Opslaan")
        await expect(status_line(desk)).to_contain_text(says)
        assert desk.url.endswith(guest) is (choice != "Iemand anders")
        await followed(counter_site)


async def test_a_replaced_card_opens_its_guest_at_once_and_is_found_afterwards(
    counter_site: CounterSite, desk: Page
) -> None:
    """After the whole form the guest was there all along, and that number was not found afterwards."""
    card, guest = await guest_of(counter_site)
    old = f"0990{card[4:]}"
    who = PatronDetails(JAN.name, JAN.birth_date, f"Brink {card}, Groningen", JAN.email)
    counter_site.app.home.answers(HOME, old, Valid(who, UNTIL, card))
    await scans(desk, counter_site, old)
    await enters(desk, "ISIL-code", HOME)
    await desk.wait_for_url(f"**{guest}")
    await expect(status_line(desk)).to_contain_text("hier al ingeschreven met een ander pasnummer")
    await sees(desk, f"{card} (ook {old})")
    await followed(counter_site)
    await scans(desk, counter_site, old)
    await desk.wait_for_url(f"**{guest}")
    await opens(desk, counter_site, "/zoeken")
    await enters(desk, "Zoek op naam, pas, geboortedatum of gebruikersnaam", old)
    await expect(desk.get_by_role("link", name=JAN.name)).to_have_attribute("href", guest)
