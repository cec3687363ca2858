"""After each action one line says what was done: on the next page, once, and nowhere but on the server."""

import re
from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from uuid import UUID

import httpx2
import pytest
import pytest_asyncio
from fastapi.routing import APIRoute

from registration.counter_ui.app import ROUTERS
from registration.domain.verdict import Reason, Refused
from shared.projections.background_rebuild import BackgroundRebuilds
from tests.support.counter_pages import (
    HOME,
    CounterSite,
    fields_of,
    form_of,
    links_too_late,
    register,
    session_in,
)
from tests.support.messaging import FAULTY, HARMLESS, park_guest

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)

GUEST = "/gasten/{guest_id:uuid}"
SAID = {
    "/gasten/nieuw/opslaan": "De inschrijving is opgeslagen.",
    f"{GUEST}/thuischeck": "De thuisbibliotheek is geraadpleegd.",
    f"{GUEST}/koppelen": "De koppeling is aangevraagd.",
    f"{GUEST}/ontkoppelen": "Het inlogaccount is ontkoppeld.",
    f"{GUEST}/inlogs-samenvoegen": "De twee inlogs zijn samengevoegd.",
    f"{GUEST}/inschrijven": "Heringeschreven: het abonnement is weer geldig.",
    f"{GUEST}/voorkeuren": "De voorkeuren zijn opgeslagen.",
    f"{GUEST}/chip": "De pas heeft geen chip: lenen kan alleen aan de balie.",
    f"{GUEST}/uitschrijven": "De gastlener is uitgeschreven.",
    f"{GUEST}/wissen": "De persoonsgegevens zijn gewist.",
    "/gasten/{guest_id}/ontdubbelen/{into}": "De twee inschrijvingen zijn samengevoegd.",
    "/vestiging": "U werkt nu op de gekozen vestiging.",
    "/beheer/geparkeerd/opnieuw": "De berichten van deze gastlener zijn verwerkt (2).",
    "/beheer/geparkeerd/{guest_id}/overslaan": "De berichten van deze gastlener zijn verwerkt (2).",
    "/beheer/weergaven/{name}/herbouw": "De herbouw is begonnen.",
    "/beheer/nachtcontrole": "De controle is aangevraagd en begint binnen enkele seconden.",
    "/beheer/pasnummers": "De tabel is vervangen: 1 voorloopcijfers.",
}
SAID_ELSEWHERE = {
    "/beheer/instellingen": "test_operators_of_both_services.py",
    "/beheer/webhooks/{name}/opnieuw": "test_operators_of_both_services.py",
    "/beheer/webhooks/{name}/overslaan": "test_operators_of_both_services.py",
    "/beheer/webhooks/{name}/hervat": "test_operators_of_both_services.py",
}
"""Which tests see the line: it needs more than one service, or a receiver."""
NOTHING_WAS_DONE = {
    "/aanmelden/einde": "the sign-in service asks it",
    "/taal": "the whole page is in the other language",
    "/tips": "the hint is gone, or the hints are there again",
    "/afmelden": "the heading of the next page says it, to nobody who is signed in",
    "/scan": "a page is opened",
    "/doorverwezen": "a page is opened",
    "/zoeken": "a search",
    "/gasten/nieuw/bibliotheek": "a search",
    "/gasten/nieuw/thuis": "the next step of a form",
    "/gasten/{guest_id}/ontdubbelen/zoeken": "a search",
    "/gasten/nieuw/gebruikersnaam": "a script asks it",
    "/beheer/opzoekingen": "a search",
    "/beheer/thuisbibliotheken/{isil}": "a question, which the page answers",
    "/beheer/pasnummers/controle": "the next step of a form",
    "/beheer/opzoekingen/uitvoer/{form}": "a download",
}


@pytest_asyncio.fixture(loop_scope="module")
async def clerk(counter_site: CounterSite) -> AsyncIterator[httpx2.AsyncClient]:
    """With all scopes."""
    async with counter_site.signed_in("f.deboer") as client:
        yield client


def member(counter_site: CounterSite) -> str:
    card = f"0660{next(numbers):06d}"
    counter_site.app.member(card)
    return card


def lines_of(page: str) -> list[str]:
    """What the page says was done, where a screen reader reads it out."""
    [status] = re.findall(r'<div id="status"[^>]* role="status".*?</div>', page, re.DOTALL)
    return re.findall(r'<p class="alert success">(.*?)</p>', status)


async def says(client: httpx2.AsyncClient, answer: httpx2.Response, of: str) -> None:
    """The page after the action says its line, and the same page again does not."""
    assert answer.status_code == 303, answer.text
    address = answer.headers["location"]
    assert "notice" not in str(session_in(client)), "a cookie is on the clerk's computer"
    assert lines_of((await client.get(address)).text) == [SAID[of]]
    assert lines_of((await client.get(address)).text) == []


async def sends(client: httpx2.AsyncClient, path: str, seen_on: str, **fields: Any) -> httpx2.Response:
    return await client.post(path, data=form_of((await client.get(seen_on)).text, path) | fields)


async def test_of_every_form_it_is_known_what_it_says() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    forms = {route.path for route in routes if "POST" in (route.methods or ())}
    assert forms == SAID.keys() | SAID_ELSEWHERE.keys() | NOTHING_WAS_DONE.keys()


async def test_each_action_of_a_guest_is_said_once(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    card = member(counter_site)
    counter_site.app.accounts.opens("jan", card)
    path = await register(clerk, card)
    saved = httpx2.Response(303, headers={"location": f"{path}/ingeschreven"})
    await says(clerk, saved, "/gasten/nieuw/opslaan")
    link = fields_of((await clerk.get(f"{path}?tab=inlogaccount")).text, "link")
    found = await clerk.post(f"{path}/koppelen", data=link | {"username": "jan.jansen", "step": "zoek"})
    linked = await clerk.post(f"{path}/koppelen", data=fields_of(found.text, "link") | {"step": "koppel"})
    await says(clerk, linked, f"{GUEST}/koppelen")
    await links_too_late(counter_site.app, path)
    merge = f"{path}/inlogs-samenvoegen"
    await says(
        clerk, await sends(clerk, merge, merge, reason="had al ingelogd"), f"{GUEST}/inlogs-samenvoegen"
    )
    unlinked = await sends(clerk, f"{path}/ontkoppelen", f"{path}/ontkoppelen", reason="verkeerd account")
    await says(clerk, unlinked, f"{GUEST}/ontkoppelen")
    await says(clerk, await sends(clerk, f"{path}/thuischeck", path), f"{GUEST}/thuischeck")
    counter_site.app.home.answers(HOME, card, Refused((Reason.EXPIRED,), because_ended=True))
    assert (await sends(clerk, f"{path}/thuischeck", path)).status_code == 303
    counter_site.app.member(card)
    again = await sends(clerk, f"{path}/inschrijven", f"{path}/inschrijven", patron_type="04", choice="keep")
    await says(clerk, again, f"{GUEST}/inschrijven")
    into = await register(clerk, member(counter_site))
    merge = f"{path}/ontdubbelen/{into.rpartition('/')[2]}"
    await says(clerk, await sends(clerk, merge, merge), "/gasten/{guest_id}/ontdubbelen/{into}")
    preferred = await sends(clerk, f"{into}/voorkeuren", into, preferred_language="en", newsletter="yes")
    await says(clerk, preferred, f"{GUEST}/voorkeuren")
    chip = await sends(clerk, f"{into}/chip", f"{into}/chip", card_has_chip="no", reason="verkeerd vinkje")
    await says(clerk, chip, f"{GUEST}/chip")
    gone = await sends(clerk, f"{into}/uitschrijven", f"{into}/uitschrijven", reason="verkeerde pas")
    await says(clerk, gone, f"{GUEST}/uitschrijven")
    erased = await sends(clerk, f"{into}/wissen", f"{into}/wissen", confirmed="yes")
    await says(clerk, erased, f"{GUEST}/wissen")


async def test_each_action_of_an_operator_is_said_once(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = counter_site.app.service.pool
    for of, message in (
        ("/beheer/geparkeerd/opnieuw", HARMLESS),
        ("/beheer/geparkeerd/{guest_id}/overslaan", FAULTY),
    ):
        guest = (await register(clerk, member(counter_site))).rpartition("/")[2]
        await clerk.get("/")
        await park_guest(pool, message, guest_id=UUID(guest))
        path, seen_on = of.replace("{guest_id}", guest), f"/beheer/geparkeerd/{guest}"
        await says(clerk, await sends(clerk, path, seen_on, reason="omdat"), of)

    async def started(*_: Any) -> None:
        """`test_operator_pages` has real ones."""

    monkeypatch.setattr(BackgroundRebuilds, "start", started)
    path = "/beheer/weergaven/history/herbouw"
    await says(clerk, await sends(clerk, path, "/beheer"), "/beheer/weergaven/{name}/herbouw")
    asked = await sends(clerk, "/beheer/nachtcontrole", "/beheer")
    await says(clerk, asked, "/beheer/nachtcontrole")
    table = "organisation_code,organisation,isil,updated_on,card_prefixes\nA,B,NL-083559,2025-06-19,6100\n"
    form = form_of((await clerk.get("/beheer/pasnummers")).text, "/beheer/pasnummers/controle")
    replaced = await clerk.post("/beheer/pasnummers", data=form | {"table": table})
    await says(clerk, replaced, "/beheer/pasnummers")
    chosen = await clerk.post(
        "/vestiging", data={"csrf_token": session_in(clerk)["csrf"], "desk_branch": "9453"}
    )
    await says(clerk, chosen, "/vestiging")


async def test_a_line_waits_for_a_page_in_the_language_of_that_page(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    path = await register(clerk, member(counter_site))
    await clerk.get(path)
    assert (await sends(clerk, f"{path}/thuischeck", path)).status_code == 303
    async with clerk.stream("GET", f"{path}/koppeling") as stream:
        assert stream.status_code == 200
    token = {"csrf_token": session_in(clerk)["csrf"], "language": "en"}
    assert (await clerk.post("/taal", data=token)).status_code == 303
    assert (await clerk.get("/gasten/00000000-0000-0000-0000-000000000000")).status_code == 404
    assert lines_of((await clerk.get(path)).text) == ["The home library was asked."]
