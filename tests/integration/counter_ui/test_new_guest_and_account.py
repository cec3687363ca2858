"""Nieuwe klant toevoegen over HTTP: the login account (R17), and who looks like a guest (R28)."""

import re
from datetime import timedelta
from itertools import count
from uuid import uuid4

import httpx2
import pytest

from tests.support.counter_pages import (
    CounterSite,
    details_of,
    fields_of,
    followed,
    is_person,
    member,
    register,
    scanned,
)
from tests.support.registration_service import FRYSLAN, HOME

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
EXISTING = {"choice": "existing", "username": "jan.jansen"}


@pytest.mark.parametrize("step", ["zoek", "opslaan"])
async def test_r17_a_username_is_looked_up_and_shown_before_it_is_saved(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, step: str
) -> None:
    fields = fields_of(await details_of(clerk, member(counter_site)), "new-guest") | EXISTING
    async with counter_site.app.nothing_written():
        found = await clerk.post("/gasten/nieuw/opslaan", data=fields | {"step": step})
        assert "jan@example.org" in found.text
        assert "Dit account wordt gekoppeld." in found.text
        fields = fields_of(found.text, "new-guest")
        not_taken = await clerk.post("/gasten/nieuw/opslaan", data=fields | {"linked": ""})
        assert "Druk op Koppelen als dit het inlogaccount van de klant is." in not_taken.text
        changed = await clerk.post("/gasten/nieuw/opslaan", data=fields | {"username": "another person"})
        assert "geen inlogaccount met deze gebruikersnaam" in changed.text
    saved = await clerk.post("/gasten/nieuw/opslaan", data=fields)
    assert "Koppeling in behandeling" in (await clerk.get(saved.headers["location"])).text


async def found_for(clerk: httpx2.AsyncClient, card: str, username: str = "jan.jansen") -> dict[str, str]:
    """The form after the search."""
    fields = fields_of(await details_of(clerk, card), "new-guest")
    sent = fields | {"choice": "existing", "username": username, "step": "zoek"}
    return fields_of((await clerk.post("/gasten/nieuw/opslaan", data=sent)).text, "new-guest")


async def test_r17_a_form_cannot_name_an_account_that_was_not_found(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    fields = await found_for(clerk, member(counter_site)) | {"linked": "yes"}
    handle = fields["account_handle"]
    forged = handle[:-6] + ("AAAAAA" if handle[-6:] != "AAAAAA" else "BBBBBB")
    raw = {"account_id": "acc-other", "account_username": "jan.jansen", "account_email": "x@example.org"}
    async with counter_site.app.nothing_written():
        for step in ("koppel", "opslaan"):
            answer = await clerk.post(
                "/gasten/nieuw/opslaan", data=fields | {"account_handle": forged, "step": step}
            )
            assert answer.status_code == 422
            assert "Zoek het account opnieuw." in answer.text
            assert "account_handle" not in fields_of(answer.text, "new-guest"), "the next press searches"
        searched = await clerk.post("/gasten/nieuw/opslaan", data=fields | {"account_handle": ""} | raw)
    assert "acc-other" not in searched.text
    assert fields_of(searched.text, "new-guest")["account_handle"], "the username was searched again"


async def test_r17_a_found_account_is_searched_again_after_a_while(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    fields = await found_for(clerk, member(counter_site)) | {"linked": "yes"}
    counter_site.app.clock.moment += timedelta(minutes=15)
    try:
        async with counter_site.app.nothing_written():
            late = await clerk.post("/gasten/nieuw/opslaan", data=fields)
        assert (late.status_code, "Zoek het account opnieuw." in late.text) == (422, True)
        again = await clerk.post("/gasten/nieuw/opslaan", data=fields_of(late.text, "new-guest"))
        assert "jan@example.org" in again.text
        taken = fields_of(again.text, "new-guest") | {"linked": "yes"}
        assert (await clerk.post("/gasten/nieuw/opslaan", data=taken)).status_code == 303
    finally:
        counter_site.app.clock.moment -= timedelta(minutes=15)


async def test_r17_r21_an_account_on_another_card_is_shown_as_such_and_needs_a_reason(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    card = member(counter_site)
    counter_site.app.accounts.opens("vader", "0770999998")
    fields = await found_for(clerk, card, "vader")
    async with counter_site.app.nothing_written():
        page = await clerk.post("/gasten/nieuw/opslaan", data=fields | {"step": "koppel"})
        assert (page.status_code, "staat op een andere pas" in page.text) == (422, True)
        assert "Vul in waarom dit inlogaccount bij deze klant hoort." in page.text
        past = await clerk.post("/gasten/nieuw/opslaan", data=fields | {"linked": "yes"})
        assert "Vul in waarom dit inlogaccount bij deze klant hoort." in past.text
        scan = {"account_reason": "0770123456", "step": "koppel"}
        scanned_into = await clerk.post("/gasten/nieuw/opslaan", data=fields | scan)
        assert "Dit lijkt op een gescand pasnummer." in scanned_into.text
    reason = {"account_reason": "het account van de vader"}
    taken = await clerk.post("/gasten/nieuw/opslaan", data=fields | reason | {"step": "koppel"})
    saved = await clerk.post("/gasten/nieuw/opslaan", data=fields_of(taken.text, "new-guest"))
    assert saved.status_code == 303, saved.text
    guest = saved.headers["location"].removesuffix("/ingeschreven")
    await followed(counter_site)
    assert "het account van de vader" in (await clerk.get(f"{guest}?tab=historie")).text


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"choice": "existing", "username": " "}, "Vul de gebruikersnaam van het inlogaccount"),
        ({"choice": "existing", "username": "niemand"}, "geen inlogaccount met deze gebruikersnaam"),
        ({"choice": "new", "new_username": " ", "new_email": "a@b.nl"}, "Vul een gebruikersnaam in:"),
        (
            {"choice": "new", "new_username": '<b>x</b> "q"', "new_email": "a@b.nl"},
            "Vul een gebruikersnaam in:",
        ),
        ({"choice": "new", "new_username": "nieuw", "new_email": "a@b"}, "Vul een geldig e-mailadres in"),
        (
            {"choice": "new", "new_username": "vergeven", "new_email": "a@b.nl"},
            "thuisbibliotheek al in gebruik",
        ),
        ({"choice": "new", "new_username": "jan", "new_email": "a b"}, "Vul een geldig e-mailadres in"),
    ],
    ids=range(7),
)
async def test_r17_an_account_that_is_not_right_yet_is_said_at_its_field(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, choice: dict[str, str], sentence: str
) -> None:
    counter_site.app.accounts.opens("vergeven", "0770999997")
    fields = fields_of(await details_of(clerk, member(counter_site)), "new-guest")
    async with counter_site.app.nothing_written():
        answer = await clerk.post(
            "/gasten/nieuw/opslaan", data=fields | choice | {"identity_document_checked": "yes"}
        )
    assert answer.status_code == 422
    assert sentence in answer.text
    assert fields_of(answer.text, "new-guest")["identity_document_checked"] == "yes", "nothing is lost"


async def test_accounts_that_cannot_be_looked_up_keep_nobody_from_registering(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    fields = fields_of(await details_of(clerk, member(counter_site)), "new-guest") | EXISTING
    counter_site.app.accounts.down = True
    try:
        answer = await clerk.post("/gasten/nieuw/opslaan", data=fields)
        assert (answer.status_code, "schrijf nu in zonder inlogaccount" in answer.text) == (503, True)
        saved = await clerk.post(
            "/gasten/nieuw/opslaan", data=fields_of(answer.text, "new-guest") | {"choice": "none"}
        )
        assert saved.status_code == 303
    finally:
        counter_site.app.accounts.down = False


async def looks_like_a_guest(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, isil: str = HOME
) -> tuple[str, str, str]:
    """A guest; another card of somebody with the same name, birth date and address; and the form for it."""
    old = member(counter_site)
    guest = await register(clerk, old)
    new = f"0778{next(numbers):06d}"
    is_person(counter_site, new, old, isil)
    await followed(counter_site)
    return guest, new, await details_of(clerk, new, isil)


async def test_r28_the_same_person_gets_the_new_number_and_both_are_found(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    guest, card, page = await looks_like_a_guest(counter_site, clerk)
    same = fields_of(page, "new-guest") | {"decision": f"same:{guest.rpartition('/')[2]}"}
    for _ in range(2):  # a second Enter changes nothing
        saved = await clerk.post("/gasten/nieuw/opslaan", data=same)
        assert saved.headers["location"] == guest
    shown = (await clerk.get(guest)).text
    assert "Het nieuwe pasnummer is bij deze gastlener bewaard" in shown
    assert "Inlogaccount, voorkeuren en chip zijn niet gewijzigd." in shown
    assert "voorkeuren en chip op dit formulier worden dan niet opgeslagen" in page
    assert re.search(rf"<dd>{card} <span class=\"hint\">\(ook \d+\)", shown)
    await followed(counter_site)
    assert (await scanned(clerk, card)).headers["location"] == guest


async def test_r28_the_same_person_at_another_library_is_registered_and_merged(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    guest, _card, page = await looks_like_a_guest(counter_site, clerk, FRYSLAN)
    merge = fields_of(page, "new-guest") | {"choice": "none", "decision": f"merge:{guest.rpartition('/')[2]}"}
    assert f'value="{merge["decision"]}"' in page
    saved = await clerk.post("/gasten/nieuw/opslaan", data=merge)
    assert saved.headers["location"].startswith(f"{guest}/ontdubbelen/")
    preview = (await clerk.get(saved.headers["location"])).text
    assert "Voeg hieronder nog de twee inschrijvingen samen." in preview
    assert "Achternaam, geboortedatum en adres zijn gelijk" in preview


@pytest.mark.parametrize(
    "forged",
    [{"likely": "x"}, {"decision": "same:x"}, {"decision": f"same:{uuid4()}"}, {"likely": str(uuid4())}],
    ids=range(4),
)
async def test_r20_r28_a_guest_who_was_not_offered_is_not_touched(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, forged: dict[str, str]
) -> None:
    fields = fields_of(await details_of(clerk, member(counter_site)), "new-guest") | {"step": "zoek"}
    if "decision" in forged:
        fields |= {"step": "opslaan", "choice": "none"}
    async with counter_site.app.nothing_written():
        answer = await clerk.post("/gasten/nieuw/opslaan", data=fields | forged)
    assert answer.status_code in {404, 409, 422}, answer.text
