"""Ontdubbelen at the counter, in a real browser: looked for, seen side by side, done once (R18, R20)."""

from __future__ import annotations

from datetime import date
from uuid import uuid4

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from registration.bootstrap import view_source
from registration.domain.verdict import PatronDetails, Valid
from registration.read_models import VIEWS
from tests.support.browser import assert_accessible, new_page, screenshot, sign_in
from tests.support.counter_pages import CounterSite, form_of
from tests.support.projections import follow_all
from tests.support.registration_service import CARD, HOME, registering

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECOND_CARD, CHILD_CARD = "0990139313", "0990139321"
CHILD = PatronDetails("K. Jansen", date(2015, 1, 1), "Brink 1, Groningen", None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guests(counter_site: CounterSite) -> list[str]:
    """Jan, Jan again under another card and with an account, and a child at the same address."""
    counter_site.app.member(SECOND_CARD)
    counter_site.app.home.answers(HOME, CHILD_CARD, Valid(CHILD, None, CHILD_CARD))
    account = {"choice": "existing", "account_id": counter_site.app.accounts.opens("jan", SECOND_CARD)}
    bodies = (
        registering(CARD),
        registering(SECOND_CARD, login_account=account),
        registering(CHILD_CARD),
    )
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        answers = [await clerk.post("/v1/guests", json=body) for body in bodies]
    await follow_all(counter_site.app.service, VIEWS, view_source(counter_site.app.service.settings))
    return [str(answer.json()["guest_id"]) for answer in answers]


async def test_r18_a_clerk_finds_the_other_record_and_merges_by_keyboard(
    counter_site: CounterSite, browser: Browser, guests: list[str]
) -> None:
    first, second, _ = guests
    page = await new_page(browser)
    await sign_in(page, counter_site.address)
    await page.goto(f"{counter_site.address}/gasten/{second}/ontdubbelen")
    await expect(page.get_by_label("Zoek de andere inschrijving")).to_be_focused()
    await page.keyboard.type("jansen")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name=CARD)).to_be_visible()
    await expect(page.get_by_role("link", name=SECOND_CARD)).to_have_count(0)
    await screenshot(page, "merge-search")

    await page.get_by_role("link", name=CHILD_CARD).click()
    await expect(page.get_by_role("alert")).to_contain_text("niet op dezelfde dag geboren")
    await expect(page.get_by_role("button", name="Samenvoegen")).to_have_count(0)
    await screenshot(page, "merge-blocked")

    await page.goto(f"{counter_site.address}/gasten/{second}/ontdubbelen/{first}")
    await expect(page.get_by_text("wordt losgekoppeld: jan.jansen (jan@example.org)")).to_be_visible()
    await assert_accessible(page)
    await screenshot(page, "merge-preview")
    await page.get_by_role("button", name="Samenvoegen").press("Enter")
    await page.wait_for_url(f"{counter_site.address}/gasten/{first}")
    await page.goto(f"{counter_site.address}/gasten/{second}/ontdubbelen")
    await expect(page.get_by_role("link", name="Naar de gastlener")).to_have_attribute(
        "href", f"/gasten/{first}"
    )
    await page.goto(f"{counter_site.address}/gasten/{second}/ontdubbelen/{first}")
    await expect(page.get_by_text("Deze twee zijn samengevoegd")).to_be_visible()
    await page.context.close()


async def test_r18_more_records_than_are_shown_are_not_passed_over(
    counter_site: CounterSite, guests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 25 the list ended without a word."""
    search, more = f"/gasten/{guests[0]}/ontdubbelen/zoeken", "Er zijn er meer:"
    async with counter_site.signed_in() as clerk:
        form = form_of((await clerk.get(f"/gasten/{guests[0]}/ontdubbelen")).text, search) | {
            "query": "jansen"
        }
        assert more not in (await clerk.post(search, data=form)).text
        monkeypatch.setattr("registration.counter_ui.merge_pages.MOST_FOUND", 1)
        assert more in (await clerk.post(search, data=form)).text


async def test_r18_r20_a_form_sent_twice_is_done_once_and_others_guests_do_not_exist(
    counter_site: CounterSite, guests: list[str]
) -> None:
    first, _, child = guests
    async with counter_site.signed_in() as clerk:
        assert (await clerk.get(f"/gasten/{first}/ontdubbelen/{uuid4()}")).status_code == 404
        preview = (await clerk.get(f"/gasten/{child}/ontdubbelen/{first}")).text
        assert "<form" in preview
        form = form_of((await clerk.get("/zoeken")).text, "/zoeken")
        blocked = await clerk.post(f"/gasten/{child}/ontdubbelen/{first}", data=form)
        assert blocked.headers["location"] == f"/gasten/{child}/ontdubbelen/{first}"

        counter_site.app.member(third := "0990139339")
        async with counter_site.app.client(iss=counter_site.issuer.url) as caller:
            guest = (await caller.post("/v1/guests", json=registering(third, not_same_as=guests))).json()[
                "guest_id"
            ]
        where = f"/gasten/{guest}/ontdubbelen/{first}"
        form = form_of((await clerk.get(where)).text, where)
        async with counter_site.app.nothing_written():
            assert (await clerk.post(where, data={**form, "csrf_token": "made up"})).status_code == 403
        for _ in range(2):
            assert (await clerk.post(where, data=form)).headers["location"] == f"/gasten/{first}"
        log = counter_site.app.service.log
        topics = [event.event_type for event in await log.read(0, 1000) if str(event.stream_id) == guest]
        assert topics.count("registration.guests-merged") == 1
    async with counter_site.signed_in("k.bakker") as other:
        for path in (f"/gasten/{first}/ontdubbelen", f"/gasten/{guest}/ontdubbelen/{first}"):
            assert (await other.get(path)).status_code == 404
