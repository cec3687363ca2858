"""The demo of Wisecat+: who logs in sees who they are there, on a phone, in two languages (I4)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from infra.local.wisecat import IdentityLogins, Outcome, Wisecat
from registration.domain.verdict import Reason, Refused
from tests.integration.wisecat.conftest import LIBRARIES, Catalogue
from tests.support.both_services import JAN, OTHER_CARD, existing
from tests.support.browser import assert_accessible, open_browser, screenshot, watch
from tests.support.registration_service import CARD, HOME

PHONE = ViewportSize(width=390, height=844)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


async def phone(browser: Browser, *, javascript: bool = True) -> Page:
    """A phone, on which anything that the policy forbids fails the test."""
    context = await browser.new_context(
        viewport=PHONE, locale="nl-NL", java_script_enabled=javascript, reduced_motion="reduce"
    )
    watch(context)
    context.set_default_timeout(10_000)
    page = await context.new_page()
    page.on("console", lambda said: pytest.fail(said.text) if "Security Policy" in said.text else None)
    return page


async def logs_in(page: Page, address: str, account: str, library: str) -> None:
    """By keyboard and labels."""
    await page.goto(address)
    if account in {"jan.jansen", "p.devries"}:
        await page.get_by_label(account).check()
    else:
        await page.get_by_label("Een ander account").check()
        await page.get_by_label("Kenmerk van het account").fill(account)
    await page.get_by_label(library).check()
    await page.get_by_role("button", name="Inloggen").press("Enter")


async def sees(page: Page, heading: str, *texts: str) -> None:
    await expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    for text in texts:
        await expect(page.locator("main")).to_contain_text(text)


async def looked_at(page: Page, name: str) -> None:
    """Accessible, no wider than the phone, and kept as a picture."""
    await assert_accessible(page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await screenshot(page, f"wisecat-{name}")


async def test_i4_every_outcome_is_shown_on_a_phone(catalogue: Catalogue, browser: Browser) -> None:
    both_services, page = catalogue.both_services, await phone(browser)
    await page.goto(catalogue.address)
    await looked_at(page, "start")

    await both_services.registers(existing(JAN))
    await logs_in(page, catalogue.address, "jan.jansen", "Biblionet Drenthe")
    await sees(page, "U bent herkend", "gastlener van Biblionet Drenthe", "11 december 2025", "eerste keer")
    await looked_at(page, "recognised")
    await page.get_by_role("button", name="English").click()
    await sees(page, "You are recognised", "as jan.jansen, a guest of Biblionet Drenthe", "11 December 2025")
    assert await page.locator("html").get_attribute("lang") == "en"
    await looked_at(page, "recognised-english")

    await logs_in(page, catalogue.address, "jan.jansen", "Thuisbibliotheek")
    await sees(page, "U bent herkend", "uw eigen bibliotheek")
    await logs_in(page, catalogue.address, "jan.jansen", "DOK Delft")
    await sees(page, "Welkom, u bent hier nieuw", "nieuw profiel")
    await looked_at(page, "new-actor")

    await both_services.registers({"choice": "none"}, OTHER_CARD)
    await logs_in(page, catalogue.address, "acc-piet", "Biblionet Drenthe")
    await sees(page, "Ga eerst even langs de balie", "bibliotheekpas", "koppelen")
    await looked_at(page, "link-required")
    await logs_in(page, catalogue.address, "acc-niemand", "Biblionet Drenthe")
    await sees(page, "Dit account is niet gevonden", "acc-niemand")
    await looked_at(page, "account-not-found")

    both_services.network.reachable = False
    await logs_in(page, catalogue.address, "acc-piet", "Biblionet Drenthe")
    await sees(page, "Probeer het zo nog eens", "niets gewijzigd")
    await looked_at(page, "try-again")
    both_services.network.reachable = True
    await page.get_by_role("button", name="Opnieuw proberen").click()
    await sees(page, "Ga eerst even langs de balie")


async def test_i7_what_became_of_the_subscription_is_shown(catalogue: Catalogue, browser: Browser) -> None:
    """Without JavaScript, which nothing here needs."""
    both_services, page = catalogue.both_services, await phone(browser, javascript=False)
    guest = await both_services.registers(existing(JAN))
    for refusal, texts in (
        (Refused((Reason.FINES,), because_ended=False), ("geblokkeerd door uw thuisbibliotheek",)),
        (Refused((Reason.EXPIRED,), because_ended=True), ("Abonnement verlopen", "11 december 2025")),
    ):
        both_services.registration.home.answers(HOME, CARD, refusal)
        await both_services.clerk.post(f"/v1/guests/{guest['guest_id']}/home-check")
        await both_services.deliver_all()
        await logs_in(page, catalogue.address, "jan.jansen", "Biblionet Drenthe")
        await sees(page, "U bent herkend", *texts)
    await screenshot(page, "wisecat-expired")


async def test_what_was_not_filled_in_is_asked_for(catalogue: Catalogue, browser: Browser) -> None:
    page = await phone(browser)
    await logs_in(page, catalogue.address, "   ", "DOK Delft")
    await expect(page.get_by_role("alert")).to_contain_text("Kies een inlogaccount")
    await expect(page.get_by_label("DOK Delft")).to_be_checked()
    await assert_accessible(page)


async def test_no_other_page_logs_a_visitor_in(catalogue: Catalogue) -> None:
    form = {"account": "acc-jan", "library": "1001", "taal": "nl"}
    async with (
        httpx.AsyncClient(base_url=catalogue.address) as visitor,
        catalogue.both_services.identity.nothing_written(),
    ):
        for headers, status in (
            ({"Origin": "http://elsewhere.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Host": "elsewhere.example"}, 400),
        ):
            answer = await visitor.post("/login", data=form, headers=headers)
            assert answer.status_code == status
        assert (await visitor.post("/login", data={**form, "other": "x" * 5000})).status_code == 403
        assert (await visitor.post("/login", data={**form, "library": "9"})).status_code == 422
        start = await visitor.get("/", headers={"Accept-Language": "en-GB"})
    assert "Log in at the library" in start.text
    policy = start.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


async def test_i4_what_is_typed_is_shown_as_text(catalogue: Catalogue) -> None:
    form = {"account": "other", "other": '<b>"jan"</b>', "library": "1001"}
    async with httpx.AsyncClient(base_url=catalogue.address) as visitor:
        answer = await visitor.post("/login", data=form)
    assert "<b>" not in answer.text
    assert "&lt;b&gt;" in answer.text


Responds = Callable[[httpx.Request], httpx.Response]


def down(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody there")


@pytest.mark.parametrize(
    "responds",
    [
        down,
        lambda _: httpx.Response(500, text="oops"),
        lambda _: httpx.Response(200, json={}),
        lambda _: httpx.Response(200, json=[]),
        lambda _: httpx.Response(401, json={"code": "unauthenticated", "instance": "urn:uuid:1"}),
        lambda _: httpx.Response(409, json={"code": "something-new", "instance": "urn:uuid:1"}),
        lambda _: httpx.Response(503, json={"code": "registration-unavailable", "instance": "urn:uuid:1"}),
    ],
    ids=["down", "no-json", "empty", "list", "token", "unknown", "unavailable"],
)
async def test_i4_whatever_is_no_clear_answer_means_try_again(responds: Responds) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(responds)) as http:
        answer = await IdentityLogins("http://identity", http, lambda: "token").log_in("acc-jan", "1001")
    assert (answer.outcome, answer.actor_id) == (Outcome.TRY_AGAIN, None)


async def test_an_open_ended_subscription_is_shown_as_such() -> None:
    body = {
        "outcome": "recognised",
        "actor_id": "a",
        "first_login": False,
        "guest": {"guest_id": "g", "status": "valid", "ends_on": None},
    }
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=json.dumps(body)))
    async with httpx.AsyncClient(transport=transport) as http:
        logins = IdentityLogins("http://identity", http, lambda: "token")
        app = Wisecat(logins, LIBRARIES).app()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://localhost"
        ) as visitor:
            page = await visitor.post("/login", data={"account": "acc-jan", "library": "1001"})
    assert "zonder einddatum" in page.text
