"""The first page and the search, of two organisations; forms that are not ours; the content policy."""

import re
from collections.abc import AsyncIterator
from datetime import date
from html import unescape
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio

from registration.bootstrap import view_source
from registration.counter_ui.pages import POLICY
from registration.domain.verdict import PatronDetails, Valid
from registration.read_models import VIEWS
from tests.support.counter_pages import CounterSite, form_of
from tests.support.projections import follow_all
from tests.support.registration_service import CARD, HOME, registering

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEW_ACCOUNT = {"choice": "new", "username": "jan", "email": "jan@example.org"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest_id(counter_site: CounterSite) -> str:
    """J. Jansen, registered today at 1001, with a login account that is being linked."""
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        answer = await clerk.post("/v1/guests", json=registering(login_account=NEW_ACCOUNT))
    assert answer.status_code == 201
    service = counter_site.app.service
    await follow_all(service, VIEWS, view_source(service.settings))
    return str(answer.json()["guest_id"])


async def searched(client: httpx2.AsyncClient, query: str) -> str:
    form = form_of((await client.get("/zoeken")).text, "/zoeken")
    answer = await client.post("/zoeken", data={**form, "query": query})
    assert answer.status_code == 200
    return answer.text


@pytest.mark.parametrize("lijst", ["vandaag", "in-behandeling"])
async def test_the_figures_of_the_desk_lead_to_the_guests_behind_them(
    clerk: httpx2.AsyncClient, guest_id: str, lijst: str
) -> None:
    desk = (await clerk.get("/")).text
    assert f'href="/gasten?lijst={lijst}"><span class="figure' in desk
    listed = (await clerk.get(f"/gasten?lijst={lijst}")).text
    assert f"/gasten/{guest_id}" in listed
    assert "J. Jansen" in listed
    assert "Geen gastleners" in (await clerk.get("/gasten?lijst=verlopen")).text


@pytest.mark.parametrize("query", ["jansen", CARD, "3-2-1980", "jan 1980-02-03"])
async def test_a_guest_is_found_by_name_card_or_birth_date(
    clerk: httpx2.AsyncClient, guest_id: str, query: str
) -> None:
    assert f"/gasten/{guest_id}" in await searched(clerk, query)


async def test_a_list_of_guests_is_paged_both_ways_by_name(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registration.counter_ui.desk.GUESTS_A_PAGE", 2)
    people = ["Ada Zwart", "Bo Zwart", "Cas Zwart", "Dirk Zwart", "Eva Zwart"]
    async with counter_site.app.client(iss=counter_site.issuer.url) as program:
        for number, name in enumerate(reversed(people)):
            card, details = f"077600000{number}", PatronDetails(name, date(1968, 4, 17))
            counter_site.app.home.answers(HOME, card, Valid(details, None, card))
            await program.post("/v1/guests", json=registering(card))
    service = counter_site.app.service
    await follow_all(service, VIEWS, view_source(service.settings))
    listed, names = (await clerk.get("/gasten?lijst=vandaag")).text, []
    while (more := re.search(r'href="(/gasten\?lijst=vandaag&amp;na=[^"]+)"', listed)) is not None:
        names += re.findall(r"<bdi>(\w+ Zwart)</bdi>", listed)
        listed = (await clerk.get(unescape(more[1]))).text
    names += re.findall(r"<bdi>(\w+ Zwart)</bdi>", listed)
    assert names == people
    back = re.search(r'href="(/gasten\?lijst=vandaag&amp;voor=[^"]+)"', listed)
    assert back
    assert len(re.findall('<li>\n    <a class="card"', (await clerk.get(unescape(back[1]))).text)) == 2


async def test_a_search_for_signs_finds_nobody(clerk: httpx2.AsyncClient, guest_id: str) -> None:
    for signs in ("-", "★", "_%"):
        page = await searched(clerk, signs)
        assert "Niemand gevonden" in page
        assert guest_id not in page


async def test_r20_another_organisation_sees_nothing_of_the_guest(
    counter_site: CounterSite, guest_id: str
) -> None:
    async with counter_site.signed_in("k.bakker") as other:
        for lijst in ("vandaag", "verlopen", "in-behandeling"):
            assert guest_id not in (await other.get(f"/gasten?lijst={lijst}")).text
        assert (await other.get("/")).text.count(">0</span>") == 3
        assert "Niemand gevonden" in await searched(other, CARD)


async def test_what_a_clerk_types_is_shown_as_text_only(clerk: httpx2.AsyncClient) -> None:
    page = await searched(clerk, '"><script>alert(1)</script>')
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/zoeken", 200), ("/gasten?lijst=vandaag", 200), ("/gasten?lijst=alles", 422),
     ("/afmelden", 200), ("/beheer", 403), ("/bestaat-niet", 404)],
    ids=range(7),
)  # fmt: skip
async def test_every_page_has_the_strict_policy_and_a_language(
    clerk: httpx2.AsyncClient, path: str, status: int
) -> None:
    answer = await clerk.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == status
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert '<html lang="nl">' in answer.text
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    assert "<script>" not in answer.text
    assert " onclick=" not in answer.text


@pytest.mark.parametrize("token", [None, "", "made up"])
@pytest.mark.parametrize(
    "path", ["/zoeken", "/taal", "/vestiging", "/afmelden", "/beheer/geparkeerd/opnieuw"]
)
async def test_a_form_without_this_sessions_token_does_nothing(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, path: str, token: str | None
) -> None:
    await clerk.get("/")
    sent = {"query": CARD, "language": "en", "branch": "9453", "guest_id": str(uuid4())}
    async with counter_site.app.nothing_written():
        answer = await clerk.post(path, data=sent if token is None else sent | {"csrf_token": token})
    assert answer.status_code == 403
    assert "Er is niets opgeslagen" in answer.text
    assert '<html lang="nl">' in (await clerk.get("/")).text, "nothing of it was done"


async def test_a_token_of_another_session_is_no_good(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    async with counter_site.signed_in() as other:
        stolen = form_of((await other.get("/")).text, "/taal")
    await clerk.get("/")
    assert (await clerk.post("/taal", data={**stolen, "language": "en"})).status_code == 403


async def test_the_language_is_switched_and_stays(clerk: httpx2.AsyncClient) -> None:
    form = form_of((await clerk.get("/zoeken")).text, "/taal")
    answer = await clerk.post("/taal", data={**form, "language": "en"})
    assert answer.headers["location"] == "/zoeken"
    page = await clerk.get("/")
    assert '<html lang="en">' in page.text
    assert "Scan a card" in page.text


async def test_a_browser_that_prefers_english_gets_english(counter_site: CounterSite) -> None:
    async with counter_site.visitor(language="en") as visitor:
        assert "You are signed out" in (await visitor.get("/afmelden")).text


async def test_a_form_sent_after_the_session_ended_is_answered_by_a_page_that_says_so(
    counter_site: CounterSite,
) -> None:
    async with counter_site.visitor() as visitor:
        form = form_of((await visitor.get("/afmelden")).text, "/taal")
        answer = await visitor.post("/zoeken", data={"csrf_token": form["csrf_token"], "query": "jan"})
    assert answer.status_code == 401
    assert "Meld u opnieuw aan" in answer.text


async def test_programs_still_get_problems(counter_site: CounterSite) -> None:
    async with counter_site.visitor() as program:
        answer = await program.get("/v1/nothing", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_a_body_that_no_form_has_is_refused_before_it_fills_the_memory(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"query="
        for _ in range(2000):
            yield b"a" * 1024

    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    for body in (b"query=" + b"a" * 300_000, endless()):
        answer = await clerk.post("/zoeken", content=body, headers=headers)
        assert answer.status_code == 413
    async with counter_site.app.client(iss=counter_site.issuer.url) as program:
        answer = await program.post("/v1/guests", content=b"{" + b" " * 300_000 + b"}")
    assert (answer.status_code, answer.json()["detail"]) == (413, "De aanvraag is te groot.")
