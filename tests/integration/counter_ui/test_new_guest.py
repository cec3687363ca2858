"""Nieuwe klant toevoegen over HTTP: which library, what home says, every refusal in its words, sent twice."""

import re
from datetime import date
from itertools import count

import httpx2
import pytest
import pytest_asyncio

from registration.domain.verdict import Reason, Refused, Unavailable, Valid, Verdict
from tests.support.counter_pages import (
    CounterSite,
    details_of,
    fields_of,
    form_of,
    member,
    register,
    scanned,
)
from tests.support.registration_service import FRYSLAN, HOME, JAN

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)


async def test_r2_one_library_is_filled_in(clerk: httpx2.AsyncClient) -> None:
    page = (await scanned(clerk, " 1844700015 ")).text
    fields = fields_of(page, "new-guest")
    assert (fields["card_number"], fields["home_isil"]) == ("1844700015", FRYSLAN)
    assert "Gevonden bij de pas" in page


async def test_r2_several_libraries_are_chosen_from_and_shared_prefixes_are_red(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    await counter_site.app.service.pool.execute(
        "INSERT INTO card_prefixes (prefix, isil, organisation_code, organisation, updated_on)"
        " VALUES ('5555', 'NL-070288', 'D', 'Thuis', '2025-06-19'),"
        " ('5555', 'NL-083424', 'F', 'Fryslan', '2025-06-19'),"
        " ('1555', 'NL-083485', 'C18', 'Nieuwegein', '2025-06-19')"
    )
    page = (await scanned(clerk, "1555500001")).text
    assert page.count('<span class="shared">5555<span class="unseen"> (gedeeld)</span></span>') == 2
    assert "<span>1555</span>" in page
    for isil in ("NL-070288", "NL-083424", "NL-083485"):
        assert 'name="home_isil" id="isil-' in page
        assert f'value="{isil}" required' in page
    assert "home_isil" not in fields_of(page, "new-guest"), "none of them is chosen for the clerk"


@pytest_asyncio.fixture(loop_scope="module")
async def with_a_place(counter_site: CounterSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of libraries, one of them with its place."""
    monkeypatch.setattr("registration.adapters.card_prefixes.KEPT_SECONDS", 0)
    await counter_site.app.service.pool.execute(
        "INSERT INTO card_prefixes (prefix, isil, organisation_code, organisation, updated_on, place)"
        " VALUES ('8999', 'NL-087041', 'F', 'Bibliotheekservice Fryslân', '2025-06-19', 'Schiermonnikoog')"
        " ON CONFLICT DO NOTHING"
    )


async def libraries_found(clerk: httpx2.AsyncClient, typed: str) -> str:
    fields = fields_of((await scanned(clerk, "0770999999")).text, "new-guest")
    page = (await clerk.post("/gasten/nieuw/bibliotheek", data=fields | {"library": typed})).text
    assert 'value="0770999999"' in page
    return page


@pytest.mark.usefixtures("with_a_place")
async def test_r2_the_counter_manuals_table_is_searched_and_only_what_can_be_asked_is_offered(
    clerk: httpx2.AsyncClient,
) -> None:
    page = await libraries_found(clerk, "fryslan service")
    rows = re.findall(r"<tr>.*?</tr>", page, re.DOTALL)[1:]
    assert [re.findall(r"NL-[0-9]{6}", row)[-1] for row in rows] == [
        *("NL-083424", "NL-070286", "NL-083277", "NL-087020", "NL-087029", "NL-087041")
    ], "what can be asked comes first"
    assert page.count('name="home_isil" value="NL-') == 1
    assert page.count("niet aangesloten") == 5
    assert all("19-06-2025" in row and "Bibliotheekservice Fryslân" in row for row in rows)
    assert "Schiermonnikoog" in rows[-1]
    assert "<span>8415</span>, <span>8469</span>" in rows[-1]


@pytest.mark.usefixtures("with_a_place")
@pytest.mark.parametrize("typed", ["schiermonnikoog", "0870410000"])
async def test_r2_a_library_is_found_by_place_or_isil(clerk: httpx2.AsyncClient, typed: str) -> None:
    page = await libraries_found(clerk, typed)
    assert page.count('<td class="isil">') == 1
    assert '<td class="isil">NL-087041</td>' in page


async def test_r11_the_own_library_is_shown_and_not_offered(clerk: httpx2.AsyncClient) -> None:
    page = await libraries_found(clerk, "070297")
    assert "eigen bibliotheek" in page
    assert 'name="home_isil" value=' not in page


@pytest.mark.parametrize("typed", ["zzz", "", "★"])
async def test_r2_what_no_library_has_is_said_with_what_to_type(
    clerk: httpx2.AsyncClient, typed: str
) -> None:
    page = await libraries_found(clerk, typed)
    assert "Geen bibliotheek gevonden" in page
    assert "2e tot en met het 5e cijfer" in page


@pytest.mark.parametrize("typed", ["nl-083424", "083424", "NL 0834240000"])
async def test_r3_an_isil_in_another_form_is_read_and_shown_in_full_with_the_librarys_name(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, typed: str
) -> None:
    card = f"0779{next(numbers):06d}"
    counter_site.app.member(card, FRYSLAN)
    page = await details_of(clerk, card, typed)
    assert '<bdi>Bibliotheekservice Fryslân</bdi> <span class="isil">NL-083424' in page
    assert fields_of(page, "new-guest")["home_isil"].startswith("NL-083424")
    guest = (await clerk.get(await register(clerk, card, home_isil=typed))).text
    assert "<bdi>Bibliotheekservice Fryslân</bdi>" in guest


@pytest.mark.parametrize("card", ["", "12|34", "1" * 21, "pas!"], ids=range(4))
async def test_r1_what_is_no_card_is_said_beside_the_field(clerk: httpx2.AsyncClient, card: str) -> None:
    answer = await scanned(clerk, card)
    assert answer.status_code == 422
    assert "Dit is geen pasnummer" in answer.text
    assert "Scan de pas opnieuw" in answer.text


async def test_r1_what_is_no_card_is_said_before_its_library_is_asked(clerk: httpx2.AsyncClient) -> None:
    """It read that the ISIL code was missing."""
    form = fields_of((await clerk.get("/gasten/nieuw")).text, "new-guest")
    answer = await clerk.post("/gasten/nieuw/thuis", data=form | {"card_number": "12|34"})
    assert (answer.status_code, "Dit is geen pasnummer" in answer.text) == (422, True)
    assert "Niet gevonden bij de pas" not in answer.text


BLOCKED = "Gastlener kan niet worden ingeschreven: reden [ Klant is geblokkeerd ]"
EARLIER = date(2025, 9, 10)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (
            Refused((Reason.FINES, Reason.CARD_LOST), because_ended=False),
            (409, BLOCKED, "er staat een boete te lang open; de pas is als verloren gemeld."),
        ),
        (
            Refused((Reason.EXPIRED,), because_ended=True),
            (409, BLOCKED, "De klant moet contact opnemen met de eigen bibliotheek."),
        ),
        (Valid(JAN, EARLIER, "0770888888"), (409, BLOCKED, "het abonnement is verlopen.")),
        (
            Valid(JAN, None, "0770888888", is_guest_subscription=True),
            (409, "Het abonnement bij de thuisbibliotheek is zelf een gastabonnement.", "zelf lid is."),
        ),
        (
            Unavailable("timed out"),
            (503, "De thuisbibliotheek antwoordt nu niet.", "Wat u heeft ingevuld, staat er nog."),
        ),
    ],
    ids=["blocked", "expired", "ended", "chained", "unavailable"],
)
async def test_r4_what_home_says_is_shown_with_what_to_do_next(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, verdict: Verdict, expected: tuple[int, str, str]
) -> None:
    status, sentence, next_step = expected
    counter_site.app.home.answers(HOME, "0770888888", verdict)
    fields = fields_of((await scanned(clerk, "0770888888")).text, "new-guest")
    async with counter_site.app.nothing_written():
        answer = await clerk.post("/gasten/nieuw/thuis", data=fields | {"home_isil": HOME})
    assert answer.status_code == status
    assert sentence in answer.text
    assert next_step in answer.text
    assert 'value="0770888888"' in answer.text


@pytest.mark.parametrize(
    ("isil", "status", "sentence"),
    [
        ("L-070288", 422, "Dit is geen ISIL-code"),
        ("NL-999999", 404, "Er is geen thuisbibliotheek met deze ISIL-code bekend."),
        ("NL-070297", 409, "Deze pas is van uw eigen bibliotheek."),
        (FRYSLAN, 404, "De thuisbibliotheek kent deze pas niet."),
    ],
    ids=range(4),
)
async def test_r3_r11_a_wrong_library_is_refused_before_anything_else_is_asked(
    clerk: httpx2.AsyncClient, isil: str, status: int, sentence: str
) -> None:
    fields = fields_of((await scanned(clerk, "0770777777")).text, "new-guest")
    answer = await clerk.post("/gasten/nieuw/thuis", data=fields | {"home_isil": isil})
    assert answer.status_code == status
    assert sentence in answer.text
    assert f'value="{isil}"' in answer.text, "what was typed is still there"


async def test_r5_home_is_asked_again_when_it_is_saved(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    card = member(counter_site)
    fields = fields_of(await details_of(clerk, card), "new-guest")
    saved = await clerk.post("/gasten/nieuw/opslaan", data=fields | {"choice": "none", "name": "Mallory"})
    guest = await clerk.get(saved.headers["location"].removesuffix("/ingeschreven"))
    assert "J. Jansen" in guest.text
    assert "Mallory" not in guest.text


async def test_r10_a_double_enter_registers_once_and_a_known_card_opens_the_guest(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    card = member(counter_site)
    fields = fields_of(await details_of(clerk, card), "new-guest") | {"choice": "none"}
    first = await clerk.post("/gasten/nieuw/opslaan", data=fields)
    async with counter_site.app.nothing_written():
        second = await clerk.post("/gasten/nieuw/opslaan", data=fields)
        assert second.headers["location"] == first.headers["location"]
        other = await clerk.post("/gasten/nieuw/opslaan", data=fields | {"idempotency_key": "another form"})
    guest = first.headers["location"].removesuffix("/ingeschreven")
    assert other.headers["location"] == guest
    assert "Deze klant is hier al ingeschreven" in (await clerk.get(guest)).text


async def test_r8_r9_what_is_shown_to_the_patron_afterwards(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    with_chip = await clerk.get(
        await register(clerk, member(counter_site), card_has_chip="yes") + "/ingeschreven"
    )
    assert "<strong>125</strong> (code 780" in with_chip.text
    assert "Lenen kan bij de zelfservice." in with_chip.text
    without = await clerk.get(await register(clerk, member(counter_site)) + "/ingeschreven")
    assert "Lenen kan alleen aan de balie" in without.text


async def test_r20_another_organisation_registers_a_guest_of_its_own(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    card = member(counter_site)
    guest = await register(clerk, card)
    async with counter_site.signed_in("k.bakker") as delft:
        assert (await delft.get(guest)).status_code == 404
        own = await register(delft, card)
        assert own != guest
        page = (await delft.get(f"{own}/ingeschreven")).text
        assert "125" not in page, "no strips there, by its settings (R8)"


async def test_in_english_a_refusal_and_the_page_of_a_guest(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as clerk:
        language = form_of((await clerk.get("/")).text, "/taal")
        await clerk.post("/taal", data=language | {"language": "en"})
        counter_site.app.home.answers(HOME, "0770888887", Refused((Reason.FINES,), because_ended=False))
        fields = fields_of((await scanned(clerk, "0770888887")).text, "new-guest")
        refused = (await clerk.post("/gasten/nieuw/thuis", data=fields | {"home_isil": HOME})).text
        assert "The guest cannot be registered: reason [ The patron is blocked ]." in refused
        assert "The patron has to contact their own library." in refused
        page = (await clerk.get(await register(clerk, member(counter_site)) + "?tab=inlogaccount")).text
        assert "Use an existing login account" in page
        assert "Deregister" in page


@pytest.mark.parametrize(
    ("card", "status", "hint"),
    [
        ("A0770999999B", 200, "De scanner stuurt start- en stoptekens"),
        ("*0770999999*", 422, "De scanner stuurt start- en stoptekens"),
        ("07709999990770999999", 200, "De scanner heeft de pas twee keer gelezen"),
        ("2123456789012321234567890123", 422, "De scanner heeft de pas twee keer gelezen"),
    ],
)
async def test_r1_a_scan_that_the_scanner_spoiled_says_so_and_is_not_changed(
    clerk: httpx2.AsyncClient, card: str, status: int, hint: str
) -> None:
    answer = await scanned(clerk, card)
    assert (answer.status_code, hint in answer.text, f'value="{card}"' in answer.text) == (status, True, True)
