"""The page of a guest over HTTP: its tabs, what is done to it, whose it is, and what home says of it."""

import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date
from itertools import count
from uuid import UUID, uuid4

import httpx2
import pytest
import pytest_asyncio

from registration.application.check_term import check_term
from registration.application.dependencies import Context
from registration.application.repository import load_guest
from registration.bootstrap import view_source
from registration.domain.guest import Guest as Aggregate
from registration.domain.verdict import NotFound, Reason, Refused, Unavailable, Valid, Verdict
from registration.read_models import VIEWS
from shared.event_log import Metadata
from tests.support.counter_pages import (
    CounterSite,
    fields_of,
    form_of,
    links_too_late,
    register,
    session_in,
)
from tests.support.imported_guests import imported
from tests.support.projections import follow_all
from tests.support.registration_service import HOME, JAN

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
ENDED = Refused((Reason.EXPIRED,), because_ended=True)
USERNAMES = {"jan": "jan.jansen", "shared": "shared"}
EXISTING = {"choice": "existing", "username": "jan.jansen"}
FINES = Refused((Reason.FINES,), because_ended=False)


@pytest_asyncio.fixture(loop_scope="module")
async def clerk(counter_site: CounterSite) -> AsyncIterator[httpx2.AsyncClient]:
    async with counter_site.signed_in() as client:
        yield client


class Guest:
    """A guest of the clerk's, and the card by which home is asked about it."""

    def __init__(self, counter_site: CounterSite, path: str, card: str) -> None:
        self.counter_site, self.path, self.card = counter_site, path, card

    def home_says(self, verdict: Verdict) -> None:
        self.counter_site.app.home.answers(HOME, self.card, verdict)

    async def expires(self, clerk: httpx2.AsyncClient) -> None:
        self.home_says(ENDED)
        assert (await self.does(clerk, "thuischeck")).status_code == 303

    async def does(self, clerk: httpx2.AsyncClient, action: str, **more: str) -> httpx2.Response:
        """Send the form of the guest's page, or of the action's own page, that leads there."""
        page = await clerk.get(f"{self.path}/{action}")
        if page.status_code != 200:
            page = await clerk.get(self.path)
        fields = form_of(page.text, f"{self.path}/{action}")
        return await clerk.post(f"{self.path}/{action}", data=fields | more)

    async def links(self, clerk: httpx2.AsyncClient, name: str = "jan") -> httpx2.Response:
        """Search the account, see whose it is, and press Koppelen."""
        link, fields = f"{self.path}/koppelen", fields_of(await self.shown(clerk, "inlogaccount"), "link")
        found = await clerk.post(link, data=fields | {"username": f" {USERNAMES[name]}", "step": "zoek"})
        assert f"{name}@example.org" in found.text
        return await clerk.post(link, data=fields_of(found.text, "link") | {"step": "koppel"})

    async def shown(self, clerk: httpx2.AsyncClient, tab: str = "klant") -> str:
        answer = await clerk.get(f"{self.path}?tab={tab}")
        assert answer.status_code == 200
        return answer.text


@pytest_asyncio.fixture(loop_scope="module")
async def guest(counter_site: CounterSite, clerk: httpx2.AsyncClient) -> Guest:
    card = f"0660{next(numbers):06d}"
    counter_site.app.member(card)
    counter_site.app.accounts.opens("jan", card)
    return Guest(counter_site, await register(clerk, card), card)


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
    assert '<span id="card-notice" class="expired">Pas niet geldig!</span>' in page
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
    assert "de pas is als verloren gemeld" in await _history(clerk, guest)


MOVED = replace(JAN, name="J. de Vries", address="Nieuwe weg 2, Assen")


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Valid(JAN, None, ""), "De thuisbibliotheek antwoordde: geldig. Er is niets veranderd."),
        (Valid(MOVED, None, ""), "antwoordde: geldig. Veranderd: de naam, het adres."),
        (FINES, "antwoordde: geweigerd, er staat een boete te lang open. Veranderd: de status."),
        (NotFound(), "De thuisbibliotheek kent deze pas niet (meer)."),
        (Unavailable("timed out"), "De thuisbibliotheek antwoordde niet."),
    ],
    ids=["same", "moved", "refused", "not_found", "unavailable"],
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
    assert "De thuisbibliotheek is gevraagd: het abonnement is beëindigd." in page
    assert "Herinschrijven kan nu niet" in page
    assert "niets veranderd" not in page
    guest.home_says(Valid(JAN, None, guest.card))
    assert "herinschrijven kan. Er is" not in await guest.shown(clerk)


async def test_r15_an_expired_guest_shows_what_holds_now(clerk: httpx2.AsyncClient, guest: Guest) -> None:
    assert "(voorlopig)" in await guest.shown(clerk, "contributie")
    await guest.expires(clerk)
    page = await guest.shown(clerk, "contributie")
    assert "voorlopig" not in page
    assert 'Beëindigd op</dt><dd class="expired">11-09-2025' in page
    guest.home_says(FINES)
    assert 'class="button" href="' + guest.path + "/inschrijven" in await guest.shown(clerk)


async def test_r9_r21_a_wrong_tick_is_corrected_with_a_reason_and_is_in_the_history(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    cards = await guest.shown(clerk, "passen")
    assert guest.card in cards
    was = "nee: alleen aan de balie" in cards
    done = await guest.does(clerk, "chip", reason="verkeerd aangevinkt")
    assert done.headers["location"] == f"{guest.path}?tab=passen"
    assert ("nee: alleen aan de balie" in await guest.shown(clerk, "passen")) is not was
    history = await _history(clerk, guest)
    assert "Chip van de pas verbeterd" in history
    assert "verkeerd aangevinkt" in history


async def test_r17_a_linked_account_is_named_and_a_silent_identity_holds_up_no_page(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    assert (await guest.links(clerk)).status_code == 303
    await _identity_links(guest)
    page = await guest.shown(clerk, "inlogaccount")
    assert "<bdi>jan.jansen</bdi>" in page
    assert "<bdi>jan@example.org</bdi>" in page
    accounts = guest.counter_site.app.accounts
    accounts.down = True
    try:
        page = await guest.shown(clerk, "inlogaccount")
    finally:
        accounts.down = False
    assert "nu niet op te vragen" in page
    assert "Ontkoppelen" in page
    assert "jan.jansen" not in page


async def test_i3_a_refused_account_names_the_guest_who_has_it_and_another_can_be_chosen(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    counter_site.app.accounts.opens("shared", guest.card)
    assert (await guest.links(clerk, "shared")).status_code == 303
    await _identity_links(guest, "acc-shared")
    counter_site.app.member(card := f"0662{next(numbers):06d}")
    counter_site.app.accounts.opens("shared", card)
    asking = Guest(counter_site, await register(clerk, card), card)
    assert (await asking.links(clerk, "shared")).status_code == 303
    assert "Ontkoppelen" in await asking.shown(clerk, "inlogaccount")
    await _identity_refuses(asking)
    page = await asking.shown(clerk, "inlogaccount")
    assert f'Dit inlogaccount is van <a href="{guest.path}"><bdi>J. Jansen</bdi></a>' in page
    assert "/ontkoppelen" not in page
    assert fields_of(page, "link")
    assert f'href="{guest.path}">' in await asking.shown(clerk, "meldingen")
    assert f'href="{guest.path}">' in (await clerk.get(f"{asking.path}/ingeschreven")).text
    async with counter_site.app.client(iss=counter_site.issuer.url) as caller:
        shown = await caller.get(f"/v1/guests/{asking.path.rpartition('/')[2]}/login-account")
    assert shown.json() == {
        "account_id": "acc-shared",
        "username": "shared",
        "email": "shared@example.org",
        "other_guest": guest.path.rpartition("/")[2],
    }


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


async def test_r17_r21_an_account_is_searched_linked_shown_live_and_unlinked_with_a_reason(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    taken = await guest.links(clerk)
    assert taken.headers["location"] == f"{guest.path}?tab=inlogaccount"
    async with clerk.stream("GET", f"{guest.path}/koppeling") as stream:
        updates = (json.loads(line[6:]) async for line in stream.aiter_lines() if line.startswith("data: "))
        assert (await anext(updates))["pending"]
        await _identity_links(guest)
        assert [(each["kind"], each["pending"]) async for each in updates] == [("success", False)]
    assert "Inlogaccount gekoppeld" in await guest.shown(clerk, "inlogaccount")
    unlinked = await guest.does(clerk, "ontkoppelen", reason="account van een ouder")
    assert unlinked.status_code == 303
    assert "Geen inlogaccount" in await guest.shown(clerk, "inlogaccount")
    assert "account van een ouder" in await _history(clerk, guest)


async def test_i6_too_late_has_a_way_on_and_who_may_not_take_it_reads_whom_to_ask(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    assert (await guest.links(clerk)).status_code == 303
    merge = f"{guest.path}/inlogs-samenvoegen"
    await links_too_late(counter_site.app, guest.path, blocked="different-birth-dates")
    tab = await guest.shown(clerk, "inlogaccount")
    assert "Vraag een collega met het recht op inlogaccounts" in tab
    assert merge not in tab
    async with counter_site.app.nothing_written(), counter_site.signed_in("f.deboer") as operator:
        for answer in (await clerk.get(merge), await _posts(clerk, guest, "inlogs-samenvoegen", reason="o")):
            assert (answer.status_code, "U heeft geen toegang" in answer.text) == (403, True)
        assert f'href="{merge}"' in await guest.shown(operator, "inlogaccount")
        page = (await operator.get(merge)).text
        assert "De geboortedatums zijn niet gelijk." in page
        assert '<form method="post" action="' + merge not in page
        refused = await _posts(operator, guest, "inlogs-samenvoegen", reason="omdat")
        assert (refused.status_code, "niet dezelfde persoon" in refused.text) == (409, True)
    await links_too_late(counter_site.app, guest.path)
    async with counter_site.signed_in("f.deboer") as operator:
        page = (await operator.get(merge)).text
        for shown in ("01-09-2025 11:30", "bij 1 bibliotheek", "niet te vergelijken"):
            assert shown in page
        assert (await guest.does(operator, "inlogs-samenvoegen", reason=" ")).status_code == 422
        assert (await guest.does(operator, "inlogs-samenvoegen", reason="had al ingelogd")).status_code == 303
        tab = await guest.shown(operator, "inlogaccount")
        assert (merge in tab, "Inlogaccount gekoppeld" in tab) == (False, True)
        history = await _history(operator, guest)
        assert "Samenvoegen van twee inlogs gevraagd</td><td><bdi>Femke de Boer</bdi></td>" in history
        assert "had al ingelogd" in history


async def test_r17_r21_another_persons_account_is_linked_with_a_reason_only(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    counter_site.app.accounts.opens("jan", "0660999998")
    link, fields = f"{guest.path}/koppelen", fields_of(await guest.shown(clerk, "inlogaccount"), "link")
    found = await clerk.post(link, data=fields | {"username": "jan.jansen", "step": "zoek"})
    fields = fields_of(found.text, "link")
    async with counter_site.app.nothing_written():
        refused = await clerk.post(link, data=fields | {"step": "koppel"})
    assert (refused.status_code, "Vul in waarom" in refused.text) == (422, True)
    linked = await clerk.post(link, data=fields | {"step": "koppel", "account_reason": "vader van de klant"})
    assert linked.status_code == 303, linked.text
    assert "vader van de klant" in await _history(clerk, guest)


async def test_the_history_names_who_did_what_and_what_home_said_is_not_the_clerks_doing(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    deps, guest_id = counter_site.app.service.deps, UUID(guest.path.rpartition("/")[2])
    guest.home_says(FINES)
    await check_term(guest_id, Context("1001", Metadata("nightly", uuid4())), deps)
    counter_site.app.member(guest.card)
    await check_term(guest_id, Context("1001", Metadata("j.smit", uuid4())), deps)  # `--by j.smit`
    await guest.expires(clerk)
    page, asked_by = await _history(clerk, guest), "thuisbibliotheek, gevraagd door"
    rows = re.findall(r"<tr><td[^>]*>.*?</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", page)
    shown = [tuple(re.sub("</?bdi>", "", cell) for cell in row) for row in rows]
    assert shown[:4] == [
        ("Abonnement opgezegd", f"{asked_by} Marijke Visser", "overig"),
        ("Blokkade opgeheven", f"{asked_by} j.smit", ""),
        ("Geblokkeerd", f"{asked_by} de nachtelijke controle", "er staat een boete te lang open"),
        ("Leenstrips bijgeschreven", "Marijke Visser", ""),
    ]
    async with counter_site.signed_in("j.smit"):
        assert "gevraagd door Jeroen Smit" in await guest.shown(clerk, "historie")
    token = {"csrf_token": session_in(clerk)["csrf"]}
    await clerk.post("/taal", data=token | {"language": "en"})
    in_english = await guest.shown(clerk, "historie")
    await clerk.post("/taal", data=token | {"language": "nl"})
    assert "home library, asked by the nightly check" in in_english
    assert "a fine has been open for too long" in in_english


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
    assert "verkeerde pas" in await _history(clerk, guest)
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
    await _history(clerk, guest)
    fields = fields_of((await clerk.get("/")).text, "scan")
    scanned = await clerk.post("/scan", data=fields | {"card_number": guest.card})
    assert scanned.headers["location"] == into


@pytest.mark.parametrize("action", ["ontkoppelen", "uitschrijven", "chip"])
async def test_r21_without_a_reason_nothing_is_taken_back(
    clerk: httpx2.AsyncClient, guest: Guest, action: str
) -> None:
    async with guest.counter_site.app.nothing_written():
        for nothing in ("", "   "):
            assert (await guest.does(clerk, action, reason=nothing)).status_code == 422


async def test_r19_an_operator_erases_after_confirming_and_a_clerk_may_not(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    assert "Persoonsgegevens wissen" not in await guest.shown(clerk)
    for answer in (
        await clerk.get(f"{guest.path}/wissen"),
        await _posts(clerk, guest, "wissen", confirmed="yes"),
    ):
        assert (answer.status_code, "U heeft geen toegang" in answer.text) == (403, True)
    async with counter_site.signed_in("f.deboer") as operator:
        assert (await guest.does(operator, "wissen")).status_code == 422
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
                assert (await _posts(delft, guest, action, **everything)).status_code == 404, action


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


async def _posts(client: httpx2.AsyncClient, guest: Guest, action: str, **sent: str) -> httpx2.Response:
    """With this session's own token."""
    token = form_of((await client.get("/zoeken")).text, "/zoeken")
    return await client.post(f"{guest.path}/{action}", data=token | sent)


async def _identity_links(guest: Guest, account_id: str = "acc-jan") -> None:
    now = guest.counter_site.app.clock.now()
    await _of_identity(guest, lambda it: it.confirm_link(account_id, too_late=False, now=now))


async def _identity_refuses(guest: Guest) -> None:
    now = guest.counter_site.app.clock.now()
    await _of_identity(guest, lambda it: it.refuse_link("acc-shared", "account-in-use", now=now))


async def _of_identity(guest: Guest, outcome: Callable[[Aggregate], None]) -> None:
    deps = guest.counter_site.app.service.deps
    loaded = await load_guest(UUID(guest.path.rpartition("/")[2]), "1001", deps)
    outcome(loaded)
    await deps.store.save(loaded, metadata=Metadata("identity", uuid4()))


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
    told = await _history(clerk, guest)
    assert "voorkeurstaal: Engels, nieuwsbrief: nee, leenhistorie: ja" in told
    assert "voorkeurstaal: Engels, nieuwsbrief: nee, leenhistorie: nee" in told
    await guest.expires(clerk)
    asked = fields_of((await clerk.get(f"{path}/inschrijven")).text, "reregister")
    assert (asked["preferred_language"], asked.get("lending_history")) == ("en", None)


async def _history(client: httpx2.AsyncClient, guest: Guest) -> str:
    service = guest.counter_site.app.service
    await follow_all(service, VIEWS, view_source(service.settings))
    return await guest.shown(client, "historie")


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
    assert "Overgenomen uit een ander systeem. De thuisbibliotheek is nog niet gevraagd." in shown
    assert "De thuisbibliotheek antwoordde" not in shown
    assert "Antwoord van" not in shown
    history = await guest.shown(clerk, "historie")
    assert "Overgenomen uit een ander systeem" in history
    assert "old-system, daar ingeschreven op 01-02-2023" in history
    guest.home_says(Valid(JAN, date(2027, 1, 31), card))
    assert (await guest.does(clerk, "thuischeck")).status_code == 303
    assert "De thuisbibliotheek antwoordde: geldig." in await guest.shown(clerk)
