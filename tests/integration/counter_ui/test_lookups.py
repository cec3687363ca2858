"""Looking up people at the counter's pages is limited and recorded; operators read who did (R22)."""

import csv
import io
import json
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from registration.bootstrap import view_source
from registration.read_models import VIEWS
from tests.support.counter_pages import CounterSite, details_of, fields_of, form_of
from tests.support.projections import follow_all
from tests.support.registration_service import CARD, HOME, registering

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = "/beheer/opzoekingen"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest_id(counter_site: CounterSite) -> str:
    """J. Jansen, whom every look-up of this module is about."""
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        answer = await clerk.post("/v1/guests", json=registering())
    service = counter_site.app.service
    await follow_all(service, VIEWS, view_source(service.settings))
    return str(answer.json()["guest_id"])


@pytest_asyncio.fixture(loop_scope="module")
async def operator(counter_site: CounterSite) -> AsyncIterator[httpx2.AsyncClient]:
    async with counter_site.signed_in("f.deboer") as client:
        yield client


async def looks_up(clerk: httpx2.AsyncClient, way: str, guest_id: str) -> httpx2.Response:
    """One look-up of each kind that the pages have."""
    if way == "list":
        return await clerk.get("/gasten?lijst=vandaag")
    if way == "pending":
        return await clerk.get("/gasten?lijst=in-behandeling")
    form = form_of((await clerk.get("/zoeken")).text, "/afmelden")
    path, fields = {
        "search": ("/zoeken", {"query": "jansen"}),
        "scan": ("/scan", {"card_number": CARD}),
        "other record": (f"/gasten/{guest_id}/ontdubbelen/zoeken", {"query": "jansen"}),
        "home": ("/gasten/nieuw/thuis", {"card_number": CARD, "home_isil": HOME}),
        "account": (f"/gasten/{guest_id}/koppelen", {"username": "jan.jansen", "step": "zoek"}),
    }[way]
    return await clerk.post(path, data=form | fields)


async def count(counter_site: CounterSite) -> int:
    found: int = await counter_site.app.service.pool.fetchval("SELECT count(*) FROM lookups")
    return found


@pytest.mark.parametrize(
    ("way", "kind", "finds"),
    [
        ("list", "guests", True),
        ("pending", "guests", False),
        ("search", "guests", True),
        ("scan", "scan", True),
        ("other record", "guests", True),
        ("home", "home-patron", True),
        ("account", "login-account", False),
    ],
)
async def test_r22_every_look_up_of_the_pages_is_one_row(
    *, counter_site: CounterSite, clerk: httpx2.AsyncClient, guest_id: str, way: str, kind: str, finds: bool
) -> None:
    before = await count(counter_site)
    assert (await looks_up(clerk, way, guest_id)).status_code in {200, 303}
    assert await count(counter_site) == before + 1
    pool = counter_site.app.service.pool
    [row] = await pool.fetch("SELECT * FROM lookups ORDER BY at DESC LIMIT 1")
    assert (row["subject"], row["organisation"], row["kind"]) == ("m.visser", "1001", kind)
    guests = await pool.fetch("SELECT guest_id::text FROM lookup_guests WHERE lookup_id = $1", row["id"])
    assert [guest["guest_id"] for guest in guests] == ([guest_id] if finds else [])


async def test_r22_a_registration_without_a_person_of_ours_is_three_look_ups(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    """The scan, the question to the home library, the account."""
    counter_site.app.member("0990139313")
    before = await count(counter_site)
    fields = fields_of(await details_of(clerk, "0990139313"), "new-guest")
    await clerk.post("/gasten/nieuw/opslaan", data=fields | {"username": "jan.jansen", "step": "zoek"})
    assert await count(counter_site) == before + 3


@pytest.mark.parametrize("way", ["list", "search", "scan", "other record", "home", "account"])
async def test_r22_over_the_limit_the_page_says_so(
    counter_site: CounterSite, guest_id: str, way: str
) -> None:
    await counter_site.app.service.pool.execute(
        "INSERT INTO lookups (subject, organisation, kind, what, outcome, counts)"
        " SELECT 'j.smit', '1001', 'scan', number, 'none', true FROM generate_series(1, 10000) AS number"
    )
    async with counter_site.signed_in("j.smit") as busy:
        answer = await looks_up(busy, way, guest_id)
    assert answer.status_code == 429
    assert "U heeft in korte tijd te veel mensen opgezocht. Probeer het later opnieuw." in answer.text
    assert "Wacht even." in answer.text
    assert "Resultaat" not in answer.text, "of an account; the e-mail address of the guest itself is known"


async def test_r22_an_operator_reads_who_looked_up_a_person(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, operator: httpx2.AsyncClient, guest_id: str
) -> None:
    await looks_up(clerk, "scan", guest_id)
    assert f'href="{PAGE}"' in (await operator.get("/beheer")).text
    page = (await operator.get(PAGE)).text
    assert ("m.visser" in page, guest_id in page, "pas gescand" in page) == (True, True, True)
    assert ("<td>gevonden</td>" in page, "<td>found</td>" in page) == (True, False)
    form = form_of(page, "/afmelden")
    for fields, finds in (
        ({"wat": CARD}, True),
        ({"wat": "0990000000"}, False),
        ({"medewerker": "m.visser", "gastlener": guest_id}, True),
        ({"medewerker": "nobody"}, False),
        ({"vanaf": "2020-01-01", "tot": "2020-01-02"}, False),
    ):
        found = await operator.post(PAGE, data=form | fields)
        assert found.status_code == 200
        assert ("pas gescand" in found.text) is finds, fields
    assert (await operator.post(PAGE, data=form | {"gastlener": "nobody"})).status_code == 422
    assert CARD not in (await operator.get(PAGE)).text


async def test_r22_an_operator_downloads_them_and_that_is_recorded_too(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, operator: httpx2.AsyncClient, guest_id: str
) -> None:
    await looks_up(clerk, "scan", guest_id)
    form = form_of((await operator.get(PAGE)).text, "/afmelden")
    lines = await operator.post(f"{PAGE}/uitvoer/jsonl", data=form)
    last = [json.loads(line) for line in lines.text.splitlines()][-3:]
    assert [(each["subject"], each["kind"], each["outcome"]) for each in last] == [
        ("m.visser", "scan", "found"),
        ("f.deboer", "reading", "listed"),
        ("f.deboer", "reading", "exported"),
    ]
    table = await operator.post(f"{PAGE}/uitvoer/csv", data=form | {"gastlener": guest_id})
    assert table.headers["content-disposition"] == 'attachment; filename="opzoekingen.csv"'
    *_, row = [each for each in csv.DictReader(io.StringIO(table.text)) if each["kind"] == "scan"]
    assert (row["subject"], row["outcome"], row["guest_ids"]) == ("m.visser", "found", guest_id)


async def test_a_text_that_nobody_can_have_typed_finds_nothing(operator: httpx2.AsyncClient) -> None:
    form = form_of((await operator.get(PAGE)).text, "/afmelden")
    for name in ("medewerker", "wat"):
        for path in (PAGE, f"{PAGE}/uitvoer/csv"):
            assert (await operator.post(path, data=form | {name: "a\0b"})).status_code == 422, (path, name)


async def test_r20_r22_an_operator_sees_the_own_organisation_and_a_clerk_nothing(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, operator: httpx2.AsyncClient, guest_id: str
) -> None:
    async with counter_site.signed_in("k.bakker") as delft:
        await looks_up(delft, "scan", guest_id)
    assert "k.bakker" not in (await operator.get(PAGE)).text
    token = form_of((await clerk.get("/zoeken")).text, "/afmelden")
    assert (await clerk.get(PAGE)).status_code == 403
    for path in (PAGE, f"{PAGE}/uitvoer/csv", f"{PAGE}/uitvoer/jsonl"):
        assert (await clerk.post(path, data=token)).status_code == 403
