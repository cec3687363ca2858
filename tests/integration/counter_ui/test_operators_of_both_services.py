"""The operators' pages with identity beside registration: live, and every action with its result."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import date, time
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import FilePayload, Page, expect

from identity.adapters.tables import SCHEMA as IDENTITYS_SCHEMA
from identity.read_models import VIEWS as IDENTITYS_VIEWS
from infra.local.ports import free_port
from infra.local.postgres import Postgres
from registration.adapters.identity_client import IdentityOperations
from registration.application.nightly_check import run_when_due
from registration.bootstrap import view_source
from registration.counter_ui import operator_pages
from registration.counter_ui.operator_pages import Operations
from registration.domain.verdict import Valid
from registration.read_models.guest_directory import VIEW as GUEST_DIRECTORY
from shared.configuration import ConfigurationRecord, Follower
from shared.messaging.parked import State
from shared.messaging.webhook_sender import Failure
from shared.messaging.webhook_state import WebhookState
from shared.platform.http_client import HttpClient
from shared.platform.leases import Leases
from tests.integration.home_library.test_replies import text_of
from tests.support.both_services import Network
from tests.support.browser import assert_accessible, screenshot
from tests.support.counter_pages import CounterSite, fields_of, form_of
from tests.support.home_libraries import Sip2Host, checked, sip2_host
from tests.support.identity_service import IdentityApp, open_identity_app
from tests.support.messaging import HARMLESS, REASON, park_guest
from tests.support.projections import follow_all
from tests.support.registration_service import HOME, JAN, registering
from tests.support.servers import Databases
from tests.support.tokens import held_token

pytestmark = pytest.mark.asyncio(loop_scope="module")
COLUMNS = "organisation_code,organisation,isil,updated_on,card_prefixes\n"


class Beside:
    """Identity beside the counter, over a network that a test cuts."""

    def __init__(self, site: CounterSite, identity: IdentityApp, network: Network, http: HttpClient) -> None:
        self.site, self.identity, self.network = site, identity, network
        self.operations: Operations = site.app.app.state.operations
        self._http = http
        self.may("feed accounts installation")

    def may(self, scopes: str) -> None:
        """From now on registration's service token has these scopes."""
        token = self.site.app.signer.token(scopes, None, "registration", exp=4_000_000_000)
        client = IdentityOperations("http://identity", self._http, held_token(token))
        object.__setattr__(self.operations, "identity", client)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def beside(
    counter_site: CounterSite, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Beside]:
    databases = Databases(postgres)
    database, folder = databases(scripts=IDENTITYS_SCHEMA), tmp_path_factory.mktemp("beside")
    async with open_identity_app(database, folder, signer=counter_site.app.signer) as identity:
        network = Network(identity.app)
        async with HttpClient(transport=network) as http:
            yield Beside(counter_site, identity, network, http)
    databases.drop_all()


@pytest_asyncio.fixture(loop_scope="module")
async def operator(beside: Beside) -> AsyncIterator[httpx2.AsyncClient]:
    async with beside.site.signed_in("f.deboer") as client:
        yield client


@asynccontextmanager
async def api(beside: Beside, service: str) -> AsyncIterator[httpx2.AsyncClient]:
    """The API of a service, for an operator of the whole installation."""
    token = beside.site.app.signer.token("installation", None, "beheer", iss=beside.site.issuer.url)
    if service == "registration":
        async with beside.site.app.client(token) as client:
            yield client
    else:
        async with beside.identity.client("installation", "beheer") as client:
            yield client


async def post(client: httpx2.AsyncClient, path: str, files: Any = None, **fields: str) -> httpx2.Response:
    form = form_of((await client.get("/beheer/opzoekingen")).text, "/afmelden")
    return await client.post(path, data=form | fields, files=files)


async def registered(beside: Beside, card: str, organisation: str = "1001") -> UUID:
    person = replace(JAN, address=f"Brink {card}, Groningen")
    beside.site.app.home.answers(HOME, card, Valid(person, date(2026, 12, 31), card))
    token = {"iss": beside.site.issuer.url, "organisation": organisation}
    async with beside.site.app.client(**token) as clerk:
        answer = await clerk.post("/v1/guests", json=registering(card))
    assert answer.status_code == 201, answer.text
    service = beside.site.app.service
    await follow_all(service, [GUEST_DIRECTORY], view_source(service.settings))
    return UUID(answer.json()["guest_id"])


async def test_the_views_and_messages_of_both_services_are_on_one_page(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    page = (await operator.get("/beheer")).text
    for view in IDENTITYS_VIEWS:
        assert f"/beheer/weergaven/{view.name}/herbouw?dienst=identity" in page
    assert "identity: in, van registration" in page
    assert "antwoordt nu niet" not in page
    shown = (await operator.get("/beheer/weergaven/links?dienst=identity")).text
    assert "the state of every guest&#39;s link" in shown


async def test_while_identity_is_silent_or_refuses_the_page_is_there_and_says_so(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    beside.network.reachable = False
    try:
        page = await operator.get("/beheer")
        assert (page.status_code, "Identity antwoordt nu niet" in page.text) == (200, True)
        assert "/beheer/weergaven/history/herbouw" in page.text
        guest = await operator.get(f"/beheer/gasten/{uuid4()}")
        assert (guest.status_code, "Identity antwoordt nu niet" in guest.text) == (200, True)
        view = await operator.get("/beheer/weergaven/links?dienst=identity")
        assert (view.status_code, "Identity antwoordt nu niet" in view.text) == (503, True)
    finally:
        beside.network.reachable = True
    beside.may("feed accounts")
    try:
        page = await operator.get("/beheer")
        assert (page.status_code, "heeft de scope `installation` nodig" in page.text) == (200, True)
    finally:
        beside.may("feed accounts installation")


async def test_i8_a_guest_parked_at_identity_is_retried_and_skipped_from_the_page(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    pool = beside.identity.service.pool
    guest_id = await park_guest(pool, "guest-registered.v1")
    path = f"/beheer/geparkeerd/{guest_id}"
    assert f"{path}?dienst=identity" in (await operator.get("/beheer")).text
    assert (await operator.get(path)).status_code == 404, "it is not parked at registration"
    tried = await post(operator, "/beheer/geparkeerd/opnieuw?dienst=identity", guest_id=str(guest_id))
    assert (tried.status_code, tried.headers["location"]) == (303, f"{path}?dienst=identity")
    assert "nog geparkeerd na 2 pogingen" in (await operator.get(tried.headers["location"])).text
    await pool.execute("UPDATE held_guests SET state = 'parked' WHERE guest_id = $1", guest_id)
    unexplained = await post(operator, f"{path}/overslaan?dienst=identity", reason=" ")
    assert (unexplained.status_code, "Vul een reden in" in unexplained.text) == (422, True)
    await post(operator, f"{path}/overslaan?dienst=identity", reason="van een test")
    [discarded] = await pool.fetch(
        "SELECT reason, discarded_by FROM discarded_messages WHERE guest_id = $1", guest_id
    )
    assert tuple(discarded) == ("van een test", "f.deboer via registration")
    await pool.execute("DELETE FROM held_messages")
    await pool.execute("DELETE FROM held_guests")


@pytest.mark.parametrize("service", ["registration", "identity"])
async def test_i8_the_api_of_both_services_does_the_same(beside: Beside, service: str) -> None:
    running: Any = beside.site.app.service if service == "registration" else beside.identity.service
    guest_id = await park_guest(running.pool, HARMLESS, State.WAITING)
    async with api(beside, service) as client:
        overview = (await client.get("/v1/operations")).json()
        assert [parked["guest_id"] for parked in overview["parked"]] == [str(guest_id)]
        parked = f"/v1/operations/parked/{guest_id}"
        assert [line["version"] for line in (await client.get(parked)).json()["backlog"]] == [1, 2]
        assert REASON in (await client.get(parked)).json()["parked"]["reason"]
        waiting = await client.post(f"{parked}/discard", json={"reason": "omdat"})
        assert (waiting.status_code, waiting.json()["code"]) == (409, "only-waiting")
        unseen = await client.post(f"{parked}/discard", json={"reason": "\u200b"})
        assert (unseen.status_code, unseen.json()["code"]) == (422, "malformed-request")
        retried = (await client.post(f"{parked}/retry")).json()
        assert retried["messages"] == 2
        await running.pool.execute("DELETE FROM held_messages")
        await running.pool.execute("DELETE FROM held_guests")
        gone = await client.post(f"{parked}/retry", json={"by": "f.deboer"})
        assert (gone.status_code, gone.json()["code"]) == (404, "not-held")
        missing = await client.post("/v1/operations/views/made_up/rebuild")
        assert (missing.status_code, missing.json()["code"]) == (404, "no-such-view")


async def test_a_view_of_identity_is_rebuilt_from_the_page(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    started = await post(operator, "/beheer/weergaven/links/herbouw?dienst=identity")
    assert started.headers["location"] == "/beheer/weergaven/links?dienst=identity"
    path = "/beheer/weergaven/links/voortgang?dienst=identity"
    async with operator.stream("GET", path, timeout=20) as stream:
        lines = [line async for line in stream.aiter_lines() if line.startswith(("event", "data"))]
    assert lines[-2] == "event: ended"
    assert json.loads(lines[-1].removeprefix("data: "))["percentage"] == 100
    assert "De weergave is herbouwd" in (await operator.get(started.headers["location"])).text


async def test_r20_r22_only_a_clerk_of_the_guests_organisation_reads_its_name(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    pool = beside.site.app.service.pool
    ours = await registered(beside, "0660000001")
    others = await registered(beside, "0660000002", "2002")
    for guest_id in (ours, others):
        await park_guest(pool, HARMLESS, State.WAITING, guest_id=guest_id)
    try:
        pages = [(await operator.get("/beheer")).text for _ in range(2)]
        for page in pages:
            assert re.search(rf'href="/beheer/gasten/{ours}"><bdi>J. Jansen</bdi>', page)
            assert f'href="/beheer/gasten/{others}"><code>{str(others)[:8]}</code>' in page
            assert page.count("J. Jansen") == 1
        recorded = await pool.fetch(
            "SELECT guest_id FROM lookup_guests JOIN lookups ON id = lookup_id"
            " WHERE subject = 'f.deboer' AND guest_id = ANY ($1)",
            [ours, others],
        )
        assert [row["guest_id"] for row in recorded] == [ours], "once, although it was shown twice"
        for organisation, subjects in (("1001", ["f.deboer"]), ("2002", [])):
            more = {"scope": "operator", "sub": "auditor", "iss": beside.site.issuer.url}
            async with beside.site.app.client(organisation=organisation, **more) as auditor:
                found = await auditor.post(
                    "/v1/operations/lookups", json={"guest_id": str(ours), "subject": "f.deboer"}
                )
            assert [lookup["subject"] for lookup in found.json()["lookups"]] == subjects
    finally:
        await pool.execute("DELETE FROM held_messages")
        await pool.execute("DELETE FROM held_guests")


async def test_r19_the_events_of_a_guest_come_from_both_logs_without_personal_data(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    guest_id = await registered(beside, "0660000003")
    page = (await operator.get(f"/beheer/gasten/{guest_id}")).text
    assert "registration.guest-registered" in page
    assert "0660000003" not in page
    assert "encrypted" in page
    found = await operator.get(f"/beheer/gasten?nummer={guest_id}")
    assert found.headers["location"] == f"/beheer/gasten/{guest_id}"
    assert (await operator.get("/beheer/gasten?nummer=jansen")).headers["location"] == "/beheer"
    async with api(beside, "registration") as client:
        events = (await client.get(f"/v1/operations/guests/{guest_id}/events")).json()["events"]
    assert events[0]["topic"] == "registration.guest-registered"
    assert not {"J. Jansen", "0660000003"} & {str(value) for value in events[0]["fields"].values()}


async def next_part(lines: AsyncIterator[str], wanted: str) -> str:
    async for line in lines:
        if line.startswith("data: "):
            part = json.loads(line.removeprefix("data: "))
            if part["id"] == wanted:
                return str(part["html"])
    raise AssertionError(f"the stream ended without {wanted}")


async def test_the_page_is_kept_up_to_date_until_the_session_ends(
    beside: Beside, operator: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_pages, "LOOK_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(operator_pages, "FRESH_SECONDS", 0.0)
    pool = beside.identity.service.pool
    async with operator.stream("GET", "/beheer/stroom", timeout=20) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        assert "Er is geen gastlener geparkeerd" in await next_part(lines, "parked")
        guest_id = await park_guest(pool, HARMLESS, State.WAITING)
        assert str(guest_id) in await next_part(lines, "parked")
        await pool.execute("DELETE FROM held_messages")
        await pool.execute("DELETE FROM held_guests")
        await post(operator, "/afmelden")
        async for _ in lines:
            pass  # it ends
    assert beside.operations.streams.open == 0


async def test_streams_are_bounded_and_end_when_the_server_stops(
    beside: Beside, operator: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_pages, "MOST_STREAMS", 1)
    stopping = asyncio.Event()
    object.__setattr__(beside.operations, "stopping", stopping)
    async with operator.stream("GET", "/beheer/stroom", timeout=20) as stream:
        lines = stream.aiter_lines()
        await next_part(lines, "views")
        refused = await operator.get("/beheer/stroom")
        assert (refused.status_code, "te veel beheerpagina" in refused.text) == (503, True)
        stopping.set()
        async for _ in lines:
            pass
    object.__setattr__(beside.operations, "stopping", asyncio.Event())


async def test_a_page_that_is_left_open_does_not_keep_its_session_open(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    clock = beside.site.app.clock
    before = clock.moment
    clock.moment = before.replace(minute=before.minute + 5)
    try:
        async with operator.stream(
            "GET", "/beheer/stroom", headers={"Accept": "text/event-stream"}
        ) as stream:
            assert "set-cookie" not in stream.headers
        assert "set-cookie" in (await operator.get("/beheer")).headers
    finally:
        clock.moment = before


async def test_r12_a_check_is_asked_for_on_the_page_and_run_by_a_worker(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    service = beside.site.app.service
    answer = await post(operator, "/beheer/nachtcontrole")
    assert answer.headers["location"] == "/beheer#night"
    page = (await operator.get("/beheer")).text
    assert "is aangevraagd en begint binnen enkele seconden" in page
    assert "aangevraagd</span> door <bdi>f.deboer</bdi>" in page
    async with api(beside, "registration") as client:
        asked = await client.post("/v1/operations/nightly-checks")
        assert (asked.status_code, asked.json()["by"]) == (202, "f.deboer"), "it waits already"
        await run_when_due(time(2, 30), service.nightly_checks, Leases(service.pool), service.deps)
        nights = (await client.get("/v1/operations/nightly-checks")).json()
    assert nights["requested"] is None
    assert [night["complete"] for night in nights["nights"]] == [True]
    page = (await operator.get("/beheer")).text
    assert ("volledig" in page, "Nu uitvoeren" in page) == (True, True)


async def test_r2_a_table_of_prefixes_is_checked_before_it_replaces_the_present_one(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    pool = beside.site.app.service.pool
    before = await pool.fetchval("SELECT count(*) FROM card_prefixes")
    path = "/beheer/pasnummers"
    wrong = await post(operator, f"{path}/controle", {"file": ("a.csv", f"{COLUMNS}A,B,X,2025-01-01,1234\n")})
    assert (wrong.status_code, "line 2: &#39;X&#39; is not an ISIL" in wrong.text) == (422, True)
    binary = await post(operator, f"{path}/controle", {"file": ("a.csv", b"\xff\xfe\x00")})
    assert (binary.status_code, "geen tekst in UTF-8" in binary.text) == (422, True)
    table = f"{COLUMNS}DOK,DOK & <Delft>,NL-083559,2025-06-19,6100 6101\n"
    checked_page = (await operator.get(path)).text
    assert "De tabel is nog niet vervangen" in checked_page
    seen = await post(operator, f"{path}/controle", {"file": ("a.csv", table)})
    assert (seen.status_code, "Ja, vervang de tabel" in seen.text) == (200, True)
    assert "DOK &amp; &lt;Delft&gt;" in seen.text
    assert await pool.fetchval("SELECT count(*) FROM card_prefixes") == before, "nothing yet"
    done = await post(operator, path, {"none": b""}, table=table)
    assert done.headers["location"] == path
    shown = (await operator.get(path)).text
    assert "De tabel is vervangen: 2 voorloopcijfers" in shown
    assert "f.deboer" in shown
    async with api(beside, "registration") as client:
        client.headers["Content-Type"] = "text/csv"
        same = (await client.post("/v1/operations/card-prefixes/check", content=table)).json()
        assert same == {"prefixes": 2, "added": [], "removed": [], "changed": []}
        again = await client.put("/v1/operations/card-prefixes", content=table)
        assert again.status_code == 200, again.text
        imports = (await client.get("/v1/operations/card-prefixes/imports")).json()["imports"]
        bad = await client.put("/v1/operations/card-prefixes", content=b"x")
    assert [done["by"] for done in imports] == ["beheer", "f.deboer"]
    assert (bad.status_code, bad.json()["code"]) == (422, "malformed-card-prefixes")


async def test_r22_a_home_library_is_probed_from_the_page_without_what_it_sent(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    app, host = beside.site.app, Sip2Host()
    host.usually[b"63"] = checked(text_of("valid_no_end_known"))
    path = f"/beheer/thuisbibliotheken/{HOME}"
    assert path in (await operator.get("/beheer")).text
    unknown = await post(operator, path, card_number="0990139305")
    assert unknown.status_code == 404, "it is not in the file of home libraries"
    async with sip2_host(host):
        with home_library_in_the_file(beside, host.port):
            probed = await post(operator, path, card_number="0990139305")
    assert (probed.status_code, "De thuisbibliotheek antwoordt: geldig" in probed.text) == (200, True)
    assert "Brouw" not in probed.text
    with home_library_in_the_file(beside, host.port):
        silent = await post(operator, path, card_number="0990139305")
    assert "gaf geen bruikbaar antwoord" in silent.text
    kinds = await app.service.pool.fetch("SELECT outcome FROM lookups WHERE kind = 'home-patron' ORDER BY at")
    assert [row["outcome"] for row in kinds] == ["valid", "unavailable"]


@contextmanager
def home_library_in_the_file(beside: Beside, port: int) -> Iterator[None]:
    """Meanwhile the file names this one. Then it is as before: other tests compare it with what is used."""
    file = beside.site.app.service.settings.home_libraries
    before = file.read_text("utf-8")
    file.write_text(f'[libraries.{HOME}]\nname = "Thuis"\nhost = "127.0.0.1"\nport = {port}\n', "utf-8")
    try:
        yield
    finally:
        file.write_text(before, "utf-8")


async def test_the_operators_page_has_both_services_and_refreshes_by_itself(
    beside: Beside, desk: Page
) -> None:
    """Identity's views and parked guests were on the command line only, and no action showed its result."""
    guest_id, address = await registered(beside, "0660000004"), beside.site.address
    beside.site.app.home.goes_down(HOME)
    await desk.goto(f"{address}/beheer")
    await expect(desk.get_by_text("Deze pagina wordt vanzelf bijgewerkt")).to_be_visible()
    await expect(desk.get_by_role("row", name="links identity")).to_be_visible()
    library = desk.locator("#libraries").get_by_role("row", name=HOME)
    await expect(library).to_contain_text("wordt even niet bevraagd")
    beside.site.app.home.comes_back(HOME)
    await desk.get_by_role("link", name="Vernieuwen").focus()
    await park_guest(beside.identity.service.pool, HARMLESS, guest_id=guest_id)
    parked = desk.get_by_role("row", name=JAN.name)
    await expect(parked).to_contain_text("identity")
    await assert_accessible(desk)
    await screenshot(desk, "operators-of-both")
    await parked.get_by_role("link", name=JAN.name).press("Enter")
    await expect(desk.get_by_role("table")).to_contain_text("registration.guest-registered")
    await desk.go_back()
    await parked.get_by_role("button", name="Opnieuw proberen").press("Enter")
    status = desk.locator("#status")
    await expect(status).to_contain_text("De berichten van deze gastlener zijn verwerkt (2).")
    await expect(parked).to_have_count(0)
    await desk.get_by_role("button", name="Nu uitvoeren").press("Enter")
    await expect(status).to_contain_text("De controle is aangevraagd")
    await _a_table_of_prefixes_is_replaced(beside, desk)
    await _a_home_library_is_probed(beside, desk)


async def _a_table_of_prefixes_is_replaced(beside: Beside, desk: Page) -> None:
    await desk.goto(f"{beside.site.address}/beheer")
    await desk.get_by_role("link", name="Tabel van voorloopcijfers vervangen").press("Enter")
    content = f"{COLUMNS}A,B,NL-083559,2025-06-19,6100\n".encode()
    table: FilePayload = {"name": "a.csv", "mimeType": "text/csv", "buffer": content}
    await desk.get_by_label("Nieuwe tabel (CSV)").set_input_files(table)
    await desk.get_by_role("button", name="Controleren").press("Enter")
    await expect(desk.get_by_role("button", name="Ja, vervang de tabel")).to_be_visible()
    await assert_accessible(desk)
    await screenshot(desk, "card-prefixes")
    await desk.get_by_role("button", name="Ja, vervang de tabel").press("Enter")
    await expect(desk.locator("#status")).to_contain_text("De tabel is vervangen: 1 voorloopcijfers")


async def _a_home_library_is_probed(beside: Beside, desk: Page) -> None:
    await desk.goto(f"{beside.site.address}/beheer/thuisbibliotheken/{HOME}")
    await desk.get_by_label("Pasnummer").fill("0990139305")
    with home_library_in_the_file(beside, free_port()):
        await desk.get_by_role("button", name="Vraag nu").press("Enter")
        await expect(desk.get_by_text("gaf geen bruikbaar antwoord")).to_be_visible()
    await assert_accessible(desk)
    await screenshot(desk, "probe")


@pytest.mark.parametrize("service", ["registration", "identity"])
async def test_files_of_settings_are_read_again_with_a_reason_and_mistakes_are_listed(
    beside: Beside, operator: httpx2.AsyncClient, service: str
) -> None:
    running: Any = (beside.site.app if service == "registration" else beside.identity).service
    path = "/beheer/instellingen" + ("?dienst=identity" if service == "identity" else "")
    follower = Follower(running.live, ConfigurationRecord(running.pool), "worker")
    await follower.step()
    page = (await operator.get(path)).text
    assert follower.process in page
    assert "als de bestanden" in page
    assert 'form="reload" formaction="/taal"' in page, "a change of language keeps the reason"
    assert "Vul een reden in" in (await post(operator, path)).text
    assert "Dit lijkt op een gescand pasnummer." in (await post(operator, path, reason="0990139321")).text
    file = running.settings.organisations
    good = file.read_text("utf-8")
    file.write_text(good + '\n[organisations.9009]\nname = "Nieuw"\nisil = "x"\n', "utf-8")
    line = file.read_text("utf-8").splitlines().index('isil = "x"') + 1
    await post(operator, path, reason="Nieuw doet mee")
    page = (await operator.get(path)).text
    assert "De bestanden kloppen niet" in page
    assert f"{file}:{line}</code> organisations.9009.isil" in unisolated(page)
    file.write_text(good + '\n[organisations.9009]\nname = "Nieuw"\n', "utf-8")
    following = asyncio.create_task(step_until(follower, running))
    answer = await post(operator, path, reason="Nieuw doet mee")
    await following
    assert answer.status_code == 303
    page = unisolated((await operator.get(path)).text)
    assert "Alle processen gebruiken de bestanden (1)." in page
    assert "Nieuw doet mee" in page
    assert "<code>organisations.9009</code>" in page
    await follower._record.forget(follower.process)


async def step_until(follower: Follower[Any], running: Any) -> None:
    while len(await ConfigurationRecord(running.pool).changes(10)) < 2:
        await follower.step()
        await asyncio.sleep(0.02)


def unisolated(page: str) -> str:
    """The page without the marks around what others wrote."""
    return re.sub("[\u2066-\u2069]|</?bdi>", "", page)


async def test_receivers_of_webhooks_are_shown_retried_skipped_and_resumed(
    beside: Beside, operator: httpx2.AsyncClient
) -> None:
    assert "Er zijn nog geen ontvangers" in (await operator.get("/beheer/webhooks")).text
    state = WebhookState(beside.site.app.service.pool)
    guest = await registered(beside, "0990140015")
    await state.is_stopped("catalogus")
    await state.park("catalogus", (guest, 1, 1), Failure("it answered 422", refused=True))
    await state.stop("catalogus", "it answered 410")
    assert "gestopt" in (await operator.get("/beheer/webhooks")).text
    path = "/beheer/webhooks/catalogus"
    page = (await operator.get(path)).text
    assert str(guest) in page
    assert "it answered 422" in page
    assert (await post(operator, f"{path}/opnieuw", guest_id=str(guest))).status_code == 303
    unexplained = await post(operator, f"{path}/overslaan", guest_id=str(guest))
    assert (unexplained.status_code, "Vul een reden in" in unexplained.text) == (422, True)
    other = await registered(beside, "0990140016")
    await state.park("catalogus", (other, 2, 2), Failure("it answered 422", refused=True))
    scan = await post(operator, f"{path}/overslaan", guest_id=str(guest), reason="0990140015")
    assert scan.text.count("Dit lijkt op een gescand pasnummer.") == 1, "at the guest of the form only"
    assert f'id="error-{guest}"' in scan.text
    assert fields_of(scan.text, f"skip-{guest}")["reason"] == "0990140015"
    assert fields_of(scan.text, f"skip-{other}")["reason"] == ""
    await post(operator, f"{path}/overslaan", guest_id=str(guest), reason="proefgast")
    assert (await state.find("catalogus", guest)).version == 2
    await post(operator, f"{path}/hervat")
    assert not await state.is_stopped("catalogus")
    assert (await operator.get("/beheer/webhooks/niemand")).status_code == 404
