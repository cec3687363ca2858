"""The page of a guest over HTTP: its tabs, what is done to it, whose it is, and what home says of it."""

import re
from dataclasses import replace
from datetime import date, timedelta
from itertools import count
from uuid import UUID, uuid4

import httpx2
import pytest

from registration.application.check_term import check_term
from registration.application.dependencies import Context
from registration.bootstrap import view_source
from registration.domain.verdict import NotFound, Reason, Refused, Unavailable, Valid, Verdict
from registration.read_models import VIEWS
from shared.event_log import Metadata
from tests.support.counter_pages import (
    CounterSite,
    fields_of,
    form_of,
    register,
)
from tests.support.guest_pages import (
    Guest,
    history_of,
    posts,
)
from tests.support.imported_guests import imported
from tests.support.projections import follow_all
from tests.support.registration_service import JAN

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
EXISTING = {"choice": "existing", "username": "jan.jansen"}
FINES = Refused((Reason.FINES,), because_ended=False)


async def test_r15_r16_the_page_of_a_valid_guest_reads_as_the_screen_does(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    page = await guest.shown(clerk, "contributie")
    assert "gastleen abonnement  Normaal December 2025" in page
    assert "Vervalt 31-12-2025" in page
    cells = ["1001 / 9453", "11-09-2025", "11-12-2025", "346-gastleen abonnement", "Normaal", "0,00", "BIEB"]
    for cell in cells:
        assert f">{cell}</td>" in page


@pytest.mark.parametrize(
    ("answer", "updates"),
    [
        (None, "het abonnement weer geldig: herinschrijven kan."),
        (FINES, "Herinschrijven kan nu niet: er staat een boete te lang open."),
        (NotFound(), "De thuisbibliotheek kent deze pas niet (meer)."),
        (Unavailable("timed out"), "nog niet bekend of herinschrijven lukt."),
    ],
    ids=["valid", "fines", "not_found", "unavailable"],
)
async def test_r13_an_expired_guest_is_red_and_home_is_asked_as_it_opens(
    clerk: httpx2.AsyncClient, guest: Guest, answer: Verdict | None, updates: str
) -> None:
    await guest.expires(clerk)
    if answer is None:
        guest.counter_site.app.member(guest.card)
    else:
        guest.home_says(answer)
    page = await guest.shown(clerk)
    assert 'class="expired">gastleen abonnement  Ongeldig  Opgezegd, reden overig' in page
    assert '<span id="card-notice" class="expired" lang="nl">Pas niet geldig!</span>' in page
    assert updates in page


@pytest.mark.parametrize("is_expired", [False, True])
async def test_r25_a_reply_about_someone_else_is_told_and_refused(
    clerk: httpx2.AsyncClient, guest: Guest, is_expired: bool
) -> None:
    if is_expired:
        await guest.expires(clerk)
    guest.home_says(Valid(replace(JAN, birth_date=date(2001, 1, 1)), None, guest.card))
    if not is_expired:
        await guest.does(clerk, "thuischeck")
    page = await guest.shown(clerk)
    assert "niet overgenomen: de pas staat daar nu op naam van iemand met een andere geboortedatum." in page
    assert "Laat een beheerder de vorige gastlener wissen" in page
    if is_expired:
        answer = await guest.does(clerk, "inschrijven", patron_type="04", choice="none")
        assert answer.status_code == 409
        assert "nu op naam van iemand met een andere geboortedatum. Er is niets overgenomen." in answer.text


async def test_r10_the_other_guest_who_has_the_new_number_is_one_click_away(
    clerk: httpx2.AsyncClient, counter_site: CounterSite, guest: Guest
) -> None:
    other_card = f"0661{next(numbers):06d}"
    counter_site.app.member(other_card)
    other_path = await register(clerk, other_card)
    guest.home_says(Valid(JAN, None, other_card))
    await guest.does(clerk, "thuischeck")
    page = await guest.shown(clerk)
    assert "de pas heeft een nieuw nummer, en dat is hier van een andere gastlener." in page
    assert f'href="{other_path}"><bdi>Naar die gastlener' in page


async def test_r24_each_card_number_has_the_moment_of_the_event_that_brought_it(
    clerk: httpx2.AsyncClient, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    deps, clock, new_card = guest.counter_site.app.service.deps, guest.counter_site.app.clock, "0662000001"
    guest.home_says(Valid(JAN, None, new_card))
    with monkeypatch.context() as later:
        later.setattr(clock, "moment", clock.moment + timedelta(days=3))
        guest_id = UUID(guest.path.rpartition("/")[2])
        await check_term(guest_id, Context("1001", Metadata("nightly", uuid4())), deps)
    page = await guest.shown(clerk, "passen")
    rows = re.findall(r'<tr><td>(?:<bdi>)?(\w+).*?class="moment">(.*?)</td>', page)
    days = {number: re.sub("<[^>]+>", "", since)[:10] for number, since in rows}
    assert days == {new_card: "14-09-2025", guest.card: "11-09-2025"}


async def test_r12_a_suspended_guest_reads_geblokkeerd_why_and_what_to_do(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    guest.home_says(Refused((Reason.CARD_LOST,), because_ended=False))
    await guest.does(clerk, "thuischeck")
    guest.home_says(Unavailable("timed out"))  # the reason is the guest's, whatever the last reply
    await guest.does(clerk, "thuischeck")
    page = await guest.shown(clerk)
    for part in (
        "gastleen abonnement  Geblokkeerd",
        "Pas niet geldig!",
        "Gastlener is geblokkeerd: reden [ de pas is als verloren gemeld ]",
        "De klant moet contact opnemen met de eigen bibliotheek.",
        "De thuisbibliotheek antwoordde niet.",
    ):
        assert part in page
    assert "Vervalt" not in page
    assert "voorlopig" not in await guest.shown(clerk, "contributie")
    assert "Meldingen (2)" in page
    assert "de pas is als verloren gemeld" in await history_of(clerk, guest)


MOVED = replace(JAN, name="J. de Vries", address="Nieuwe weg 2, Assen")


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Valid(JAN, None, ""), "De thuisbibliotheek antwoordde: geldig. Er is niets veranderd."),
        (Valid(MOVED, None, ""), "antwoordde: geldig. Veranderd: de naam, het adres."),
        (FINES, "antwoordde: geweigerd, er staat een boete te lang open. Veranderd: de status."),
        (Unavailable("timed out"), "De thuisbibliotheek antwoordde niet."),
    ],
    ids=["unchanged", "moved", "refused", "unavailable"],
)
async def test_r24_what_home_answered_and_when_is_said_in_every_outcome(
    clerk: httpx2.AsyncClient, guest: Guest, verdict: Verdict, says: str
) -> None:
    if isinstance(verdict, Valid):
        verdict = replace(verdict, canonical_card_number=guest.card)
    guest.home_says(verdict)
    answer = await guest.does(clerk, "thuischeck")
    assert answer.headers["location"] == f"{guest.path}#thuisbibliotheek"
    page = await guest.shown(clerk)
    assert says in page
    assert "Gevraagd op 11-09-2025 12:00." in page
    assert ("Nieuwe weg 2, Assen" in page) is (says.endswith("het adres."))


async def test_r13_a_question_that_ends_a_guest_does_not_read_as_if_nothing_had_changed(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    """The page of an expired guest asks once more by itself, and that reply is the same."""
    await guest.expires(clerk)
    page = await guest.shown(clerk)
    assert "De thuisbibliotheek is geraadpleegd: het abonnement is beëindigd." in page
    assert "Herinschrijven kan nu niet" in page
    assert "niets veranderd" not in page
    guest.home_says(Valid(JAN, None, guest.card))
    assert "herinschrijven kan. Er is" not in await guest.shown(clerk)


async def test_r14_reregistration_takes_type_04_only_and_keeps_what_was_filled_in(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    await guest.expires(clerk)
    guest.counter_site.app.member(guest.card)
    form = (await clerk.get(f"{guest.path}/inschrijven")).text
    assert "Abonnement Geldig t/m september 2026 (tijdelijk abonnement 12 mnd.)" in form
    assert 'value="04"' in form
    found = await guest.does(clerk, "inschrijven", patron_type="04", step="zoek", **EXISTING)
    taken = fields_of(found.text, "reregister") | {"linked": "yes"}
    refused = await guest.does(clerk, "inschrijven", **taken | {"patron_type": "05"})
    assert (refused.status_code, "Verander dit niet!" in refused.text) == (422, True)
    assert fields_of(refused.text, "reregister")["username"] == "jan.jansen"
    done = await guest.does(clerk, "inschrijven", **taken)
    assert done.headers["location"] == guest.path
    assert "Normaal December 2025" in await guest.shown(clerk)
    assert "Koppeling in behandeling" in await guest.shown(clerk, "inlogaccount")


async def test_r14_home_that_is_silent_at_reregistration_loses_nothing(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    await guest.expires(clerk)
    guest.home_says(Unavailable("timed out"))
    new = {"choice": "new", "new_username": "jan2", "new_email": "jan2@example.org"}
    answer = await guest.does(clerk, "inschrijven", patron_type="04", **new)
    assert answer.status_code == 503
    fields = fields_of(answer.text, "reregister")
    assert {**fields, **new} == fields


async def test_what_is_shown_live_ends_when_the_server_stops(clerk: httpx2.AsyncClient, guest: Guest) -> None:
    assert (await guest.links(clerk)).status_code == 303
    stopping = guest.counter_site.app.app.state.operations.stopping
    async with clerk.stream("GET", f"{guest.path}/koppeling") as stream:
        lines = stream.aiter_lines()
        assert await anext(lines)
        stopping.set()
        async for _ in lines:
            pass
    stopping.clear()


async def test_r21_deregistered_with_a_reason_and_registered_afresh(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    assert (await guest.does(clerk, "uitschrijven", reason="verkeerde pas")).status_code == 303
    assert "Uitgeschreven" in await guest.shown(clerk)
    assert "verkeerde pas" in await history_of(clerk, guest)
    assert await register(clerk, guest.card) == guest.path, (
        "the scan begins a registration; the guest is the same"
    )


async def test_r18_a_merged_record_leads_to_the_guest_which_shows_its_rows_and_opens_by_its_card(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    counter_site.app.member(other := f"0661{next(numbers):06d}")
    into = await register(clerk, other)
    merge = f"{guest.path}/ontdubbelen/{into.rpartition('/')[2]}"
    fields = form_of((await clerk.get(merge)).text, merge)
    assert (await clerk.post(merge, data=fields)).headers["location"] == into
    merged_record = await guest.shown(clerk)
    assert f'href="{into}"' in merged_record
    assert "Opnieuw inschrijven" not in merged_record
    assert 'id="merged-1"' in (await clerk.get(f"{into}?tab=contributie")).text
    await history_of(clerk, guest)
    fields = fields_of((await clerk.get("/")).text, "scan")
    scanned = await clerk.post("/scan", data=fields | {"card_number": guest.card})
    assert scanned.headers["location"] == into


@pytest.mark.parametrize("action", ["ontkoppelen", "uitschrijven", "chip"])
async def test_r21_without_a_reason_nothing_is_taken_back(
    clerk: httpx2.AsyncClient, guest: Guest, action: str
) -> None:
    """Nor with a card that was scanned into the field of the reason: Enter sent it as the reason."""
    async with guest.counter_site.app.nothing_written():
        for reason, says in (
            ("", "Vul in waarom."),
            ("   ", "Vul in waarom."),
            ("\u200b", "Vul in waarom."),
            ("0770123456", "Dit lijkt op een gescand pasnummer."),
            (" A1234567B ", "Dit lijkt op een gescand pasnummer."),
        ):
            answer = await guest.does(clerk, action, reason=reason)
            assert (answer.status_code, says in answer.text) == (422, True), reason
            assert fields_of(answer.text, "with-reason")["reason"].strip() == reason.strip()


async def test_r21_a_refusal_leaves_the_reason_in_its_form(clerk: httpx2.AsyncClient, guest: Guest) -> None:
    """It was lost with the form."""
    async with guest.counter_site.app.nothing_written():
        answer = await guest.does(clerk, "ontkoppelen", reason="account van pas 0770123456")
    assert (answer.status_code, "Open de gastlener opnieuw." in answer.text) == (409, True)
    assert fields_of(answer.text, "with-reason")["reason"] == "account van pas 0770123456"


async def test_r21_what_an_action_does_is_said_before_its_reason_is_asked(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    assert "Toch inschrijven kan later" in (await clerk.get(f"{guest.path}/uitschrijven")).text
    assert "een ander account koppelen" in (await clerk.get(f"{guest.path}/ontkoppelen")).text


async def test_words_of_the_screen_stay_dutch_on_an_english_page_and_say_so(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    """A screen reader read them as English."""
    english = {"Accept-Language": "en"}
    page = (await clerk.get(guest.path, headers=english)).text
    assert '<span id="header" lang="nl" class="">gastleen abonnement' in page
    assert '<span id="expiry" lang="nl">Vervalt' in page
    rows = (await clerk.get(f"{guest.path}?tab=contributie", headers=english)).text
    assert '<td lang="nl">346-gastleen abonnement</td>' in rows


async def test_a_cleared_e_mail_address_stays_cleared(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    """The guest's address came back, with an error beside it."""
    card = f"0660{next(numbers):06d}"
    counter_site.app.member(card)
    guest = Guest(counter_site, await register(clerk, card, choice="none"), card)
    new = {"choice": "new", "new_username": "nog.vrij", "new_email": ""}
    tab = fields_of(await guest.shown(clerk, "inlogaccount"), "link")
    assert "@" in tab["new_email"]
    again = await clerk.post(f"{guest.path}/koppelen", data=tab | new)
    assert "Vul een geldig e-mailadres in" in again.text
    assert fields_of(again.text, "link")["new_email"] == ""
    await guest.expires(clerk)
    counter_site.app.member(card)
    form = fields_of((await clerk.get(f"{guest.path}/inschrijven")).text, "reregister")
    assert "@" in form["new_email"]
    again = await clerk.post(f"{guest.path}/inschrijven", data=form | new)
    assert "Vul een geldig e-mailadres in" in again.text
    assert fields_of(again.text, "reregister")["new_email"] == ""


async def test_preferences_that_are_not_saved_yet_outlive_a_hint_and_a_change_of_language(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    fields = fields_of(await guest.shown(clerk), "preferences")
    typed = fields | {"preferred_language": "en", "newsletter": "yes"}
    for path, sent in (("/tips", {"off": "guest.html"}), ("/taal", {"language": "nl"})):
        shown = fields_of((await clerk.post(path, data=typed | sent)).text, "preferences")
        assert (shown["preferred_language"], shown["newsletter"]) == ("en", "yes"), path
    assert fields_of(await guest.shown(clerk), "preferences").get("newsletter") is None


async def test_the_note_says_how_to_log_in_with_a_new_account_in_both_languages(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    """It said that the account of the patron's own library was needed."""
    card = f"0660{next(numbers):06d}"
    counter_site.app.member(card)
    new = {"choice": "new", "new_username": "briefje", "new_email": "briefje@example.org"}
    note = f"{await register(clerk, card, **new)}/briefje"
    page = (await clerk.get(note)).text
    for said in ("Log in met uw nieuwe gebruikersnaam.", "Vervalt 31-12-2025", "(voorlopig: uw eigen"):
        assert said in page
    assert "bij uw eigen bibliotheek gebruikt" not in page
    in_english = await clerk.get(note, headers={"Accept-Language": "en"})
    for said in ("Log in with your new username.", "Expires 31-12-2025", "(provisional: your own"):
        assert said in in_english.text


async def test_r19_an_operator_erases_after_confirming_and_a_clerk_may_not(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    assert "Persoonsgegevens wissen" not in await guest.shown(clerk)
    for answer in (
        await clerk.get(f"{guest.path}/wissen"),
        await posts(clerk, guest, "wissen", confirmed="yes"),
    ):
        assert (answer.status_code, "U heeft geen toegang" in answer.text) == (403, True)
    async with counter_site.signed_in("f.deboer") as operator:
        unsure = await guest.does(operator, "wissen")
        assert unsure.status_code == 422
        assert 'aria-describedby="confirmed-error" autofocus>' in unsure.text
        assert "J. Jansen" in await guest.shown(operator)
        assert (await guest.does(operator, "wissen", confirmed="yes")).status_code == 303
        page = await guest.shown(operator)
        assert "Persoonsgegevens gewist" in page
        assert "Jansen" not in page


PAGES = ("", "/ingeschreven", "/inschrijven", "/koppeling", "/ontkoppelen", "/chip", "/uitschrijven")
ACTIONS = ("thuischeck", "inschrijven", "koppelen", "ontkoppelen", "chip", "uitschrijven")


async def test_r20_another_organisations_guest_does_not_exist(
    counter_site: CounterSite, guest: Guest
) -> None:
    async with counter_site.signed_in("k.bakker") as delft:
        for path in PAGES:
            assert (await delft.get(guest.path + path)).status_code == 404, path
        async with counter_site.app.nothing_written():
            for action in ACTIONS:
                everything = {**EXISTING, "reason": "mistake", "patron_type": "04", "card_has_chip": "no"}
                assert (await posts(delft, guest, action, **everything)).status_code == 404, action


async def test_without_signing_in_nothing_is_seen_or_done(counter_site: CounterSite, guest: Guest) -> None:
    async with counter_site.visitor() as nobody:
        for path in PAGES:
            answer = await nobody.get(guest.path + path)
            assert answer.headers["location"].startswith("/aanmelden?next="), path
        async with counter_site.app.nothing_written():
            for action in ACTIONS:
                assert (await nobody.post(f"{guest.path}/{action}")).status_code == 403, action


async def test_a_guest_that_never_was_is_a_page_that_says_so(clerk: httpx2.AsyncClient) -> None:
    answer = await clerk.get(f"/gasten/{uuid4()}")
    assert (answer.status_code, "Deze gastlener bestaat niet." in answer.text) == (404, True)


async def test_r27_consent_is_asked_at_the_form_and_withdrawn_on_the_page_in_one_step(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    card = f"0660{next(numbers):06d}"
    counter_site.app.member(card)
    path = await register(clerk, card, preferred_language="en", lending_history="yes")
    guest = Guest(counter_site, path, card)
    fields = fields_of(await guest.shown(clerk), "preferences")
    assert (fields["preferred_language"], fields.get("newsletter"), fields["lending_history"]) == (
        "en", None, "yes",
    )  # fmt: skip
    del fields["lending_history"]
    assert (await clerk.post(f"{path}/voorkeuren", data=fields)).status_code == 303
    assert "De voorkeuren zijn opgeslagen." in (page := await guest.shown(clerk))
    assert "lending_history" not in fields_of(page, "preferences")
    told = await history_of(clerk, guest)
    assert "voorkeurstaal: Engels, nieuwsbrief: nee, leenhistorie: ja" in told
    assert "voorkeurstaal: Engels, nieuwsbrief: nee, leenhistorie: nee" in told
    await guest.expires(clerk)
    asked = fields_of((await clerk.get(f"{path}/inschrijven")).text, "reregister")
    assert (asked["preferred_language"], asked.get("lending_history")) == ("en", None)


async def test_r29_a_guest_of_before_says_where_it_comes_from_until_home_was_asked(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    """Nothing is pretended: no reply of the home library that was not given, and no registration of today."""
    service = counter_site.app.service
    card = f"77{next(numbers):08d}"
    await imported(service, {"card_number": card})
    guest_id = await service.pool.fetchval("SELECT guest_id FROM imported_guests")
    guest = Guest(counter_site, f"/gasten/{guest_id}", card)
    await follow_all(service, VIEWS, view_source(service.settings))
    shown = await guest.shown(clerk)
    assert "Overgenomen uit een ander systeem. De thuisbibliotheek is nog niet geraadpleegd." in shown
    assert "De thuisbibliotheek antwoordde" not in shown
    assert "Antwoord van" not in shown
    history = await guest.shown(clerk, "historie")
    assert "Overgenomen uit een ander systeem" in history
    assert "old-system, daar ingeschreven op 01-02-2023" in history
    guest.home_says(Valid(JAN, date(2027, 1, 31), card))
    assert (await guest.does(clerk, "thuischeck")).status_code == 303
    assert "De thuisbibliotheek antwoordde: geldig." in await guest.shown(clerk)
