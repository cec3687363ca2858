"""Sign-in, desk and the operators' page in a real browser; the screenshots are for people."""

import pytest
from playwright.async_api import Browser, expect

from registration.bootstrap import view_source
from registration.domain.term_check import NightlyCheck, Tally
from registration.read_models import VIEWS
from shared.messaging.parked import State
from tests.support.browser import assert_accessible, new_page, screenshot, sign_in
from tests.support.counter_pages import CounterSite
from tests.support.messaging import FAULTY, HARMLESS, park_guest
from tests.support.projections import follow_all
from tests.support.registration_service import CARD, TODAY, registering

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_clerk_signs_in_searches_and_signs_out_by_keyboard(
    counter_site: CounterSite, browser: Browser
) -> None:
    async with counter_site.app.client(iss=counter_site.issuer.url) as clerk:
        answer = await clerk.post("/v1/guests", json=registering())
        assert answer.status_code == 201
    await follow_all(counter_site.app.service, VIEWS, view_source(counter_site.app.service.settings))
    page = await new_page(browser)
    await page.goto(counter_site.address)
    await assert_accessible(page)
    await screenshot(page, "sign-in")
    await page.get_by_role("button", name="Marijke Visser").press("Enter")
    await expect(page.get_by_label("Pasnummer")).to_be_focused()
    await screenshot(page, "desk")
    await page.get_by_label("Zoek op naam").fill("jansen")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="J. Jansen")).to_be_visible()
    await screenshot(page, "search")
    await page.get_by_role("button", name="English").press("Enter")
    await expect(page.get_by_role("heading", name="Search")).to_be_visible()
    await page.get_by_role("button", name="Sign out").press("Enter")
    await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    await assert_accessible(page)
    await page.context.close()


async def test_the_next_person_is_asked_who_they_are(counter_site: CounterSite, browser: Browser) -> None:
    """Also where the sign-in service has a session of its own, which would let them in as the one before."""
    page = await new_page(browser)
    await sign_in(page, counter_site.address)
    await page.context.clear_cookies(name="counter")
    await page.goto(f"{counter_site.address}/")
    await expect(page.get_by_role("link", name="Marijke Visser")).to_be_visible()
    for ending in (page.get_by_role("button", name="Afmelden"), None):
        if ending:
            await ending.press("Enter")
            await page.wait_for_url("**/afmelden?state=*")
            assert "sign-in-service" not in {cookie["name"] for cookie in await page.context.cookies()}
            await page.get_by_role("link", name="Aanmelden").click()
        else:
            await counter_site.app.service.pool.execute("DELETE FROM staff_sessions")
            await page.goto(f"{counter_site.address}/")
        await page.get_by_role("button", name="Jeroen Smit").click()
        await expect(page.get_by_role("link", name="Jeroen Smit")).to_be_visible()
    await page.context.close()


async def test_an_operator_rebuilds_a_view_and_skips_a_failed_message(
    counter_site: CounterSite, browser: Browser
) -> None:
    pool = counter_site.app.service.pool
    await park_guest(pool, HARMLESS, State.WAITING)
    stuck = await park_guest(pool, FAULTY)
    nightly_checks, now = counter_site.app.service.nightly_checks, counter_site.app.clock.now()
    await nightly_checks.begin(NightlyCheck(TODAY), now)
    tally = Tally(asked=812, unchanged=640, confirmed=120, expired=31, suspended=4, stale=17, failed=17)
    for number in range(70280, 70290):
        await nightly_checks.record(NightlyCheck(TODAY), f"NL-0{number}", {}, tally)
    await nightly_checks.end(NightlyCheck(TODAY), now, {})
    page = await new_page(browser)
    await sign_in(page, counter_site.address, "Femke de Boer")
    await page.get_by_role("link", name="Beheer").click()
    await expect(page.get_by_role("row", name="guest_directory")).to_be_visible()
    await assert_accessible(page)
    await screenshot(page, "operators")
    await page.get_by_role("button", name="Herbouwen guest_directory").click()
    await expect(page.get_by_role("progressbar")).to_be_visible()
    await assert_accessible(page, moves_on=True)
    await screenshot(page, "rebuild-running")
    await expect(page.get_by_text("De weergave is herbouwd")).to_be_visible()
    await screenshot(page, "rebuild-done")
    await page.goto(f"{counter_site.address}/beheer/geparkeerd/{stuck}")
    await page.get_by_role("button", name="Ja, sla dit bericht over").click()
    await expect(page.get_by_label("Reden")).to_be_focused()  # the browser asks for the reason itself
    await page.get_by_label("Reden").fill("bericht van een test")
    await screenshot(page, "parked")
    await page.get_by_label("Reden").press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("Deze gastlener is nog geparkeerd")
    await page.context.close()


async def test_r22_the_page_of_look_ups_is_readable(counter_site: CounterSite, browser: Browser) -> None:
    page = await new_page(browser)
    await sign_in(page, counter_site.address, "Femke de Boer")
    await page.get_by_label("Pasnummer").fill(CARD)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    await page.goto(f"{counter_site.address}/beheer")
    await page.get_by_role("link", name="Wie zocht wie op").click()
    await expect(page.get_by_role("table")).to_contain_text("pas gescand")
    await screenshot(page, "lookups")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Alles als CSV").click()
    assert (await download.value).suggested_filename == "opzoekingen.csv"
    await page.context.close()


async def test_without_javascript_a_rebuild_is_followed_all_the_same(
    counter_site: CounterSite, browser: Browser
) -> None:
    page = await new_page(browser, javascript=False)
    await sign_in(page, counter_site.address, "Femke de Boer")
    await page.goto(f"{counter_site.address}/beheer/weergaven/history")
    await page.get_by_role("button", name="Herbouwen").click()
    await expect(page.get_by_text("De weergave is herbouwd")).to_be_visible()
    await page.context.close()


async def test_a_narrow_screen_and_a_refusal_are_readable(
    counter_site: CounterSite, browser: Browser
) -> None:
    page = await new_page(browser, width=420)
    await sign_in(page, counter_site.address, "Karim Bakker")
    await screenshot(page, "desk-narrow")
    wider = await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert wider is False
    await page.goto(f"{counter_site.address}/beheer")
    await expect(page.get_by_role("alert")).to_contain_text("geen toegang")
    await assert_accessible(page)
    await screenshot(page, "refusal")
    await page.context.close()
