"""The operators' page: parked guests (I8) and rebuilding views (ADR 0009), for callers with the scope."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import httpx2
import psutil
import pytest
import pytest_asyncio

from registration.application.dependencies import TermCheck
from registration.domain.term_check import NightlyCheck, Tally
from registration.read_models import VIEWS
from shared.messaging.parked import State
from shared.platform.postgres import SERVER_SETTINGS
from tests.support.counter_pages import CounterSite, fields_of, form_of
from tests.support.eventually import eventually
from tests.support.messaging import FAULTY, HARMLESS, REASON, park_guest
from tests.support.registration_service import TODAY, registering

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def operator(counter_site: CounterSite) -> AsyncIterator[httpx2.AsyncClient]:
    async with counter_site.signed_in("f.deboer") as client:
        yield client


async def post(
    client: httpx2.AsyncClient, path: str, seen_on: str = "/beheer", **fields: str
) -> httpx2.Response:
    form = form_of((await client.get(seen_on)).text, "/afmelden")
    return await client.post(path, data=form | fields)


async def registered(counter_site: CounterSite, card: str) -> UUID:
    counter_site.app.member(card)
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        answer = await clerk.post("/v1/guests", json=registering(card))
    return UUID(answer.json()["guest_id"])


async def is_parked(counter_site: CounterSite, guest_id: UUID) -> bool:
    overview = await counter_site.app.service.inbox.parked.overview()
    return guest_id in {each.subject for each in overview}


async def test_a_clerk_gets_a_friendly_no_everywhere_and_changes_nothing(counter_site: CounterSite) -> None:
    guest_id = await park_guest(counter_site.app.service.pool, HARMLESS)
    async with counter_site.signed_in("m.visser") as clerk:
        for path in ("/beheer", f"/beheer/geparkeerd/{guest_id}", "/beheer/weergaven/history",
                     "/beheer/weergaven/history/voortgang"):  # fmt: skip
            answer = await clerk.get(path)
            assert (answer.status_code, "geen toegang" in answer.text) == (403, True)
        assert "/beheer" not in (await clerk.get("/")).text
        for path in ("/beheer/geparkeerd/opnieuw", f"/beheer/geparkeerd/{guest_id}/overslaan",
                     "/beheer/weergaven/history/herbouw"):  # fmt: skip
            answer = await post(clerk, path, "/", guest_id=str(guest_id), reason="omdat")
            assert answer.status_code == 403
    assert await is_parked(counter_site, guest_id)
    assert counter_site.app.service.rebuilds.last("history") is None


async def test_everything_is_on_one_page(counter_site: CounterSite, operator: httpx2.AsyncClient) -> None:
    guest_id = await park_guest(counter_site.app.service.pool, HARMLESS, State.WAITING)
    page = (await operator.get("/beheer")).text
    assert [view.name for view in VIEWS if f"/beheer/weergaven/{view.name}/herbouw" not in page] == []
    assert str(guest_id) in page
    assert REASON in page
    assert "geen worker werkt deze weergave bij" in page, "there is none here"
    assert "identity antwoordt niet" in page
    assert "Identity antwoordt nu niet" in page, "and the page is there all the same"


async def test_r12_the_last_night_is_shown_by_library(
    counter_site: CounterSite, operator: httpx2.AsyncClient
) -> None:
    assert "Er is nog geen nachtelijke controle geweest" in (await operator.get("/beheer")).text
    nightly_checks, nightly = counter_site.app.service.nightly_checks, NightlyCheck(TODAY)
    await nightly_checks.begin(nightly, counter_site.app.clock.now())
    tally = Tally(asked=7, unchanged=4, expired=2, stale=1, failed=1)
    await nightly_checks.record(
        nightly, "NL-070288", {uuid4(): TermCheck("valid", counter_site.app.clock.now())}, tally
    )
    assert "loopt, of is afgebroken" in (await operator.get("/beheer")).text
    await nightly_checks.end(nightly, counter_site.app.clock.now(), {})
    page = (await operator.get("/beheer")).text
    assert "Nacht van 11-09-2025" in page
    [row] = [row for row in page.split("<tr>") if ">NL-070288<" in row and "tag" not in row]
    assert re.findall(r">(\d+)</span>", row) == ["7", "4", "0", "2", "0", "0", "1", "0", "0", "0"]
    assert "volledig" in page


async def test_i8_a_parked_guest_is_tried_again(
    counter_site: CounterSite, operator: httpx2.AsyncClient
) -> None:
    guest_id = await registered(counter_site, "0990139313")
    await park_guest(counter_site.app.service.pool, HARMLESS, guest_id=guest_id)
    answer = await post(operator, "/beheer/geparkeerd/opnieuw", guest_id=str(guest_id))
    assert (answer.status_code, answer.headers["location"]) == (303, "/beheer")
    assert "zijn verwerkt" in (await operator.get("/beheer")).text
    assert not await is_parked(counter_site, guest_id)
    again = await post(operator, "/beheer/geparkeerd/opnieuw", guest_id=str(guest_id))
    assert (again.status_code, "niet (meer) geparkeerd" in again.text) == (404, True)


async def test_i8_a_failed_message_is_skipped_with_a_reason_only(
    counter_site: CounterSite, operator: httpx2.AsyncClient
) -> None:
    pool = counter_site.app.service.pool
    guest_id = await registered(counter_site, "0990139321")
    await park_guest(pool, FAULTY, guest_id=guest_id)
    path = f"/beheer/geparkeerd/{guest_id}"
    assert "kan niet ongedaan worden gemaakt" in (await operator.get(path)).text
    unexplained = await post(operator, f"{path}/overslaan", path, reason="  ")
    assert (unexplained.status_code, "Vul een reden in" in unexplained.text) == (422, True)
    scan = await post(operator, f"{path}/overslaan", path, reason="0990139321")
    assert (scan.status_code, "Dit lijkt op een gescand pasnummer." in scan.text) == (422, True)
    assert fields_of(scan.text, "skip")["reason"] == "0990139321"
    kept = await post(operator, "/taal", path, language="en", **fields_of(scan.text, "skip"))
    assert fields_of(kept.text, "skip")["reason"] == "0990139321"
    await post(operator, "/taal", path, language="nl")
    assert await is_parked(counter_site, guest_id)
    await post(operator, f"{path}/overslaan", path, reason="gestuurd door een test")
    assert not await is_parked(counter_site, guest_id)
    [discarded] = await pool.fetch(
        "SELECT reason, discarded_by FROM discarded_messages WHERE guest_id = $1", guest_id
    )
    assert tuple(discarded) == ("gestuurd door een test", "f.deboer")


async def test_i8_what_only_waits_is_not_skipped(
    counter_site: CounterSite, operator: httpx2.AsyncClient
) -> None:
    guest_id = await park_guest(counter_site.app.service.pool, FAULTY, State.WAITING)
    path = f"/beheer/geparkeerd/{guest_id}"
    assert "overslaan" not in (await operator.get(path)).text
    refused = await post(operator, f"{path}/overslaan", path, reason="omdat")
    assert refused.status_code == 409
    assert await is_parked(counter_site, guest_id)
    assert (await operator.get(f"/beheer/geparkeerd/{uuid4()}")).status_code == 404


async def test_a_rebuild_shows_how_far_it_is_and_goes_on_when_the_browser_goes_away(
    counter_site: CounterSite, operator: httpx2.AsyncClient
) -> None:
    started = await post(operator, "/beheer/weergaven/history/herbouw")
    assert started.headers["location"] == "/beheer/weergaven/history"
    page = (await operator.get("/beheer/weergaven/history")).text
    assert "<progress" in page
    assert '<noscript><meta http-equiv="refresh"' in page
    async with operator.stream("GET", "/beheer/weergaven/history/voortgang") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert await anext(stream.aiter_lines()) == "event: progress"
    # Gone; another looks on until the end.
    async with operator.stream("GET", "/beheer/weergaven/history/voortgang", timeout=20) as stream:
        lines = [line async for line in stream.aiter_lines() if line]
    assert lines[-2] == "event: ended"
    assert json.loads(lines[-1].removeprefix("data: "))["percentage"] == 100
    done = (await operator.get("/beheer/weergaven/history")).text
    assert "De weergave is herbouwd" in done
    assert re.search(r"gebeurtenissen, \d+,\d s<", done)
    [status] = [each for each in await _views(counter_site) if each["name"] == "history"]
    assert status["rebuilt_at"] is not None


async def test_a_rebuild_whose_process_dies_leaves_the_old_view_and_says_so(
    counter_site: CounterSite, operator: httpx2.AsyncClient
) -> None:
    before = set(psutil.Process().children())
    await post(operator, "/beheer/weergaven/terms_due/herbouw")
    for child in set(psutil.Process().children()) - before:
        if "resource_tracker" not in " ".join(child.cmdline()):
            child.kill()

    async def said() -> bool:
        return "De herbouw is niet gelukt" in (await operator.get("/beheer/weergaven/terms_due")).text

    assert await eventually(said)
    assert await counter_site.app.service.pool.fetchval("SELECT count(*) FROM terms_due") == 0


async def test_a_view_that_another_process_builds_is_left_to_it(
    counter_site: CounterSite, operator: httpx2.AsyncClient
) -> None:
    url = counter_site.app.service.settings.database_url.get_secret_value()
    settings = SERVER_SETTINGS | {"application_name": "building contributions"}
    other = await asyncpg.connect(url, server_settings=settings)
    try:
        answer = await post(operator, "/beheer/weergaven/contributions/herbouw")
        assert (answer.status_code, "Wacht tot dat proces klaar is" in answer.text) == (409, True)
        assert "wordt herbouwd" in (await operator.get("/beheer")).text
    finally:
        await other.close()
    assert (await operator.get("/beheer/weergaven/made_up")).status_code == 404


async def test_a_service_that_stops_leaves_no_rebuild_behind(counter_site: CounterSite) -> None:
    rebuilds = counter_site.app.service.rebuilds
    [view] = [view for view in VIEWS if view.name == "desk_statistics"]
    before = set(psutil.Process().children())
    await asyncio.gather(rebuilds.start(view), rebuilds.start(view))
    [started] = set(psutil.Process().children()) - before
    await rebuilds.close()
    assert not started.is_running()
    [status] = [each for each in await _views(counter_site) if each["name"] == view.name]
    assert status["rebuilt_at"] is None, "it was ended, not waited for"


async def _views(counter_site: CounterSite) -> list[asyncpg.Record]:
    found: list[asyncpg.Record] = await counter_site.app.service.pool.fetch("SELECT * FROM projections")
    return found
