"""Forms are answered by redirects, and what was filled in is kept: for its clerk, until it is saved."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio
from fastapi.routing import APIRoute

from registration.adapters.staff_sessions import LARGEST_DRAFT, MOST_DRAFTS
from registration.counter_ui.app import ROUTERS
from tests.support.counter_pages import (
    HOME,
    CounterSite,
    Visitor,
    details_of,
    fields_of,
    form_of,
    register,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
TYPED = {
    "choice": "new",
    "new_username": "half.getypt",
    "new_email": "half@example.org",
    "card_has_chip": "yes",
}
FROM_HERE = {"Sec-Fetch-Site": "same-origin"}
ANSWERED_OTHERWISE = {
    "/aanmelden/einde": "the sign-in service calls it, no browser",
    "/gasten/nieuw/gebruikersnaam": "a script asks it",
    "/beheer/opzoekingen/uitvoer/{form}": "is a file",
}


@pytest_asyncio.fixture(loop_scope="module")
async def clerk(counter_site: CounterSite) -> AsyncIterator[Visitor]:
    async with counter_site.signed_in() as client:
        yield client


def member(counter_site: CounterSite) -> str:
    card = f"0440{next(numbers):06d}"
    counter_site.app.member(card)
    return card


async def at_details(client: Visitor, card: str) -> dict[str, str]:
    """The fields of the second step, with something typed in them."""
    return fields_of(await details_of(client, card), "new-guest") | TYPED


async def drafts(counter_site: CounterSite) -> list[Any]:
    return await counter_site.app.service.pool.fetch("SELECT * FROM form_drafts ORDER BY kept_at")


def posts() -> list[str]:
    paths = [
        route.path
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    ]
    return sorted(path for path in paths if path not in ANSWERED_OTHERWISE)


async def test_no_form_is_answered_by_a_page_whatever_is_wrong_with_it(counter_site: CounterSite) -> None:
    """So neither Back nor a reload asks to send a form again."""
    async with counter_site.signed_in("f.deboer") as staff:
        token = form_of((await staff.get("/zoeken")).text, "/zoeken")
        guest = (await register(staff, member(counter_site))).rpartition("/")[2]
        assert len(posts()) > 18
        for path in posts():
            for guest_id in (guest, str(uuid4())):
                address = re.sub(r"\{(guest_id|into)[^}]*\}", guest_id, path).replace("{name}", "history")
                for sent in ({}, {**token, "query": "x", "card_number": "??"}):
                    if guest_id != guest and (address == path or not sent):
                        continue  # the same as before
                    if path == "/afmelden" and "next_path" in sent:
                        continue  # the session is needed for the rest
                    if path.endswith("/wissen") and guest_id == guest and "next_path" in sent:
                        sent["confirmed"] = ""
                    answer = await staff.sends(address, data=sent)
                    assert (path, sent, answer.status_code) == (path, sent, 303)
                    assert (await staff.get(answer.headers["location"])).status_code != 500


async def test_a_draft_is_sealed_bounded_and_gone_when_it_is_saved(
    counter_site: CounterSite, clerk: Visitor
) -> None:
    await counter_site.app.service.pool.execute("DELETE FROM form_drafts")
    card = member(counter_site)
    fields = await at_details(clerk, card)
    answer = await clerk.sends("/gasten/nieuw/opslaan", data=fields | {"new_email": "nothing"})
    path = answer.headers["location"]
    assert card not in path
    assert "half" not in path
    page = await clerk.get(path)
    assert page.status_code == 422
    assert fields_of(page.text, "new-guest")["new_username"] == "half.getypt"
    assert (await clerk.get(path)).text.count("half.getypt") == 1, "a reload shows it again"
    stored = await drafts(counter_site)
    assert not any(card in str(dict(row)) or b"half" in row["sealed"] for row in stored)
    saved = await clerk.post("/gasten/nieuw/opslaan", data=fields_of(page.text, "new-guest") | TYPED)
    assert saved.headers["location"].endswith("/ingeschreven")
    draft = parse_qs(urlsplit(path).query)["concept"][0]
    assert draft not in [str(row["id"]) for row in await drafts(counter_site)]
    gone = await clerk.get(path)
    assert (gone.status_code, "niet meer bewaard" in gone.text) == (410, True)


async def test_drafts_are_bounded_in_number_size_and_time(counter_site: CounterSite, clerk: Visitor) -> None:
    fields = form_of((await clerk.get("/zoeken")).text, "/zoeken")
    first = (await clerk.sends("/zoeken", data=fields | {"query": "eerste"})).headers["location"]
    for _ in range(MOST_DRAFTS):
        last = (await clerk.sends("/zoeken", data=fields | {"query": "laatste"})).headers["location"]
    assert len(await drafts(counter_site)) == MOST_DRAFTS
    assert "niet meer bewaard" in (await clerk.get(first)).text
    assert 'value="laatste"' in (await clerk.get(last)).text
    answer = await clerk.sends("/zoeken", data=fields | {"query": "x" * LARGEST_DRAFT})
    assert (await clerk.get(answer.headers["location"])).status_code == 413
    counter_site.app.clock.moment += timedelta(minutes=50)
    try:
        await clerk.get("/")
        counter_site.app.clock.moment += timedelta(minutes=50)
        await clerk.get("/")
        counter_site.app.clock.moment += timedelta(minutes=25)
        assert "niet meer bewaard" in (await clerk.get(last)).text
        await counter_site.app.service.staff_sessions.forget_old(180)
        assert await drafts(counter_site) == []
    finally:
        counter_site.app.clock.moment -= timedelta(minutes=125)


async def test_a_draft_opens_for_its_clerk_only_and_is_gone_at_sign_out(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as clerk, counter_site.signed_in("j.smit") as colleague:
        await at_details(clerk, member(counter_site))
        draft = (await drafts(counter_site))[-1]["id"]
        path = f"/gasten/nieuw/gegevens?concept={draft}"
        assert (await clerk.get(path)).status_code == 200
        assert (await colleague.get(path)).status_code == 410
        await clerk.get(await counter_site.come_back(await clerk.get("/aanmelden")))
        assert (await clerk.get(path)).status_code == 200, "the same person signed in again"
        await clerk.post("/afmelden", data=form_of((await clerk.get("/afmelden")).text, "/afmelden"))
        assert draft not in [row["id"] for row in await drafts(counter_site)]


@pytest.mark.parametrize("noticed_before", [False, True], ids=["by the form", "by another page"])
async def test_a_session_that_is_over_loses_nothing_and_saves_nothing(
    counter_site: CounterSite, noticed_before: bool
) -> None:
    async with counter_site.signed_in() as clerk:
        fields = await at_details(clerk, member(counter_site))
        counter_site.app.clock.moment += timedelta(minutes=61)
        try:
            if noticed_before:
                assert (await clerk.get("/")).status_code == 303
                await clerk.get("/afmelden")
            async with counter_site.app.nothing_written():
                lost = await clerk.post("/gasten/nieuw/opslaan", data=fields)
                assert (lost.status_code, "is bewaard" in lost.text) == (401, True)
                [again] = re.findall(r'href="(/aanmelden\?next=[^"]+)"', lost.text)
                back = await clerk.get(await counter_site.come_back(await clerk.get(again)))
                shown = await clerk.get(back.headers["location"])
            form = fields_of(shown.text, "new-guest")
            assert "druk nog eens op de knop" in shown.text
            assert TYPED.items() <= (form | {"card_has_chip": "yes"}).items()
            assert 'name="card_has_chip" type="checkbox" value="yes" checked' in shown.text
            saved = await clerk.post("/gasten/nieuw/opslaan", data=form)
            assert saved.headers["location"].endswith("/ingeschreven")
        finally:
            counter_site.app.clock.moment -= timedelta(minutes=61)


async def test_a_form_of_the_session_before_is_shown_again_and_one_of_another_site_is_not(
    counter_site: CounterSite,
) -> None:
    async with counter_site.signed_in() as clerk:
        guest = await register(clerk, member(counter_site))
        address = f"{guest}/uitschrijven"
        fields = fields_of((await clerk.get(address)).text, "with-reason") | {"reason": "verkeerde pas"}
        await clerk.get(await counter_site.come_back(await clerk.get("/aanmelden")))
        async with counter_site.app.nothing_written():
            refused = await clerk.post(address, data=fields, headers={"Sec-Fetch-Site": "cross-site"})
            assert (refused.status_code, "verkeerde pas" in refused.text) == (403, False)
            shown = await clerk.post(address, data=fields, headers=FROM_HERE)
            assert "druk nog eens op de knop" in shown.text
        again = fields_of(shown.text, "with-reason")
        assert again["reason"] == "verkeerde pas"
        assert (await clerk.post(address, data=again)).headers["location"] == guest


async def test_language_and_branch_are_changed_in_the_middle_of_a_form(
    counter_site: CounterSite, clerk: Visitor
) -> None:
    fields = await at_details(clerk, member(counter_site))
    page = await clerk.post("/taal", data=fields | {"language": "en"})
    assert "Register a guest" in page.text
    assert fields_of(page.text, "new-guest")["new_username"] == "half.getypt"
    page = await clerk.post("/vestiging", data=fields_of(page.text, "new-guest") | {"desk_branch": "9453"})
    assert fields_of(page.text, "new-guest")["new_email"] == "half@example.org"
    guest = await register(clerk, member(counter_site))
    for path, form, typed in (
        (f"{guest}?tab=inlogaccount", "link", {"username": "iemand"}),
        (f"{guest}/uitschrijven", "with-reason", {"reason": "omdat"}),
        ("/gasten/nieuw", "new-guest", {"card_number": "0440999999", "home_isil": HOME}),
    ):
        sent = fields_of((await clerk.get(path)).text, form) | typed
        page = await clerk.post("/taal", data=sent | {"language": "nl"})
        assert typed.items() <= fields_of(page.text, form).items()


async def test_r17_r22_a_taken_username_is_told_while_it_is_typed_within_the_limit(
    counter_site: CounterSite, clerk: Visitor
) -> None:
    counter_site.app.accounts.opens("bezet", "0440999998")
    token = form_of((await clerk.get("/zoeken")).text, "/zoeken")
    pool = counter_site.app.service.pool
    for username, says in (
        ("bezet", "al in gebruik"),
        ("<b>", "letters en cijfers"),
        ("vrij.nog", ""),
    ):
        before = await pool.fetchval("SELECT count(*) FROM lookups")
        asked = token | {"username": username, "home_isil": HOME}
        answer = await clerk.post("/gasten/nieuw/gebruikersnaam", data=asked)
        assert (says in answer.json()["text"], bool(says)) == (True, bool(answer.json()["text"]))
        recorded = await pool.fetchval("SELECT count(*) FROM lookups") - before
        assert recorded == (0 if "<" in username else 1), "what cannot be a username is not looked up"
    await pool.execute(
        "INSERT INTO lookups (subject, organisation, kind, what, outcome, counts)"
        " SELECT 'm.visser', '1001', 'scan', number, 'none', true FROM generate_series(1, 10000) AS number"
    )
    try:
        asked = token | {"username": "nog.een", "home_isil": HOME}
        assert (await clerk.post("/gasten/nieuw/gebruikersnaam", data=asked)).json() == {"text": ""}
    finally:
        await pool.execute("DELETE FROM lookups")
        counter_site.app.service.lookups._full_until.clear()
