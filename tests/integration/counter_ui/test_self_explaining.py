"""The pages explain themselves: help on each, hints until they are switched off, a number for each error."""

import re
from collections.abc import AsyncIterator
from itertools import count
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio

from registration.counter_ui import desk
from registration.domain.verdict import Unavailable
from tests.support.counter_browser import PAGES
from tests.support.counter_pages import CounterSite, form_of, register
from tests.support.registration_service import HOME

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
HTML = {"Accept": "text/html"}
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


@pytest_asyncio.fixture(loop_scope="module")
async def operator(counter_site: CounterSite) -> AsyncIterator[httpx2.AsyncClient]:
    """Who may see all pages."""
    async with counter_site.signed_in("f.deboer") as client:
        yield client


def member(counter_site: CounterSite) -> str:
    card = f"0660{next(numbers):06d}"
    counter_site.app.member(card)
    return card


async def test_every_page_has_its_help_and_a_link_to_it(
    counter_site: CounterSite, operator: httpx2.AsyncClient
) -> None:
    guest = await register(operator, member(counter_site))
    assert len(PAGES) > 12
    for path in PAGES:
        address = path.replace("/gasten/{guest_id:uuid}", guest).replace("{name}", "history")
        address = re.sub(r"{\w+}", str(uuid4()), address) + ("?lijst=vandaag" if path == "/gasten" else "")
        answer = await operator.get(address)
        assert 'href="#help"' in answer.text, f"{path}: {answer.status_code}"
        [shown] = re.findall(r'<section id="help".*?</section>', answer.text, re.DOTALL)
        assert "<p>" in shown, f"{path} has no help"


async def tips(client: httpx2.AsyncClient, **chosen: str) -> httpx2.Response:
    fields = form_of((await client.get("/zoeken")).text, "/afmelden")
    return await client.post("/tips", data=fields | chosen)


async def test_a_hint_is_there_until_the_clerk_switches_it_off_on_every_computer(
    counter_site: CounterSite,
) -> None:
    nice, also = "op deze pagina en op die van een gastlener", "jan vindt ook Jansen"
    async with counter_site.signed_in("j.smit") as clerk:
        desk_page = (await clerk.get("/")).text
        assert nice in desk_page
        off = await clerk.post("/tips", data=form_of(desk_page, "/tips") | {"off": "desk.html"})
        assert (off.status_code, off.headers["location"]) == (303, "/")
        assert nice not in (await clerk.get("/")).text
        assert also in (await clerk.get("/zoeken")).text
        assert (await tips(clerk, off="all")).headers["location"] == "/zoeken"
        assert (await tips(clerk, off="all")).status_code == 303
        assert (await tips(clerk, off="<script>")).status_code == 422
    async with counter_site.signed_in("j.smit") as elsewhere:
        page = (await elsewhere.get("/zoeken")).text
        assert also not in page
        assert "Toon de tips weer" in page
        assert (await tips(elsewhere, show="again")).status_code == 303
        assert also in (await elsewhere.get("/zoeken")).text
    async with counter_site.signed_in("m.visser") as other:
        assert nice in (await other.get("/")).text


async def test_every_error_page_has_the_number_that_the_log_has(
    counter_site: CounterSite,
    operator: httpx2.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(_query: str) -> None:
        raise RuntimeError("broken")

    card = member(counter_site)
    counter_site.app.home.answers(HOME, card, Unavailable("timed out"))
    monkeypatch.setattr(desk, "asked_for", broken)
    csrf = {"csrf_token": TOKEN.findall((await operator.get("/gasten/nieuw")).text)[0]}
    thuis = csrf | {"card_number": card, "home_isil": HOME}
    cases: list[tuple[int, str, dict[str, str] | None]] = [
        (403, "/zoeken", {"query": "jan"}),
        (404, "/nergens", None),
        (404, f"/gasten/{uuid4()}", None),
        (405, "/taal", None),
        (413, "/zoeken", csrf | {"query": "x" * 300_000}),
        (422, "/gasten?lijst=geen", None),
        (422, "/scan", csrf | {"card_number": "geen|pas"}),
        (503, "/gasten/nieuw/thuis", thuis),
        (500, "/zoeken", csrf | {"query": "jan"}),
    ]
    for status, path, form in cases:
        capsys.readouterr()
        answer = await (operator.post(path, data=form) if form else operator.get(path, headers=HTML))
        assert (path, answer.status_code) == (path, status)
        [number] = re.findall(r"Kenmerk voor beheer: <code>([0-9a-f-]{36})</code>", answer.text)
        lines = [line for line in capsys.readouterr().out.splitlines() if number in line]
        [served] = [line for line in lines if "request.served" in line]
        # Of a form that was refused it is the number of the form, not of the page to which it led.
        assert re.search(rf"status={status}|method=POST .*status=303", served), served
        assert card not in "".join(lines)


async def test_a_page_without_an_error_has_no_number(operator: httpx2.AsyncClient) -> None:
    assert "Kenmerk voor beheer" not in (await operator.get("/")).text
