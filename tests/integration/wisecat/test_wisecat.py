"""The demo of Wisecat+: who logs in sees who they are there, on a phone, in two languages (I4)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from itertools import count
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, expect

from identity.application.dependencies import AccountDetails
from infra.local.configuration import CALLBACK
from infra.local.credentials import CATALOGUE_ID
from infra.local.wisecat import IdentityLogins, Outcome
from infra.local.wisecat_sign_in import SignedIn
from registration.domain.verdict import Reason, Refused, Valid
from tests.integration.wisecat.conftest import Catalogue
from tests.support.both_services import JAN, OTHER_CARD, existing
from tests.support.browser import assert_accessible, new_page, open_browser, screenshot, watch
from tests.support.identity_service import id_token
from tests.support.registration_service import HOME
from tests.support.registration_service import JAN as HOLDER
from tests.support.tokens import held_token

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
PHONE = ViewportSize(width=390, height=844)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


async def patron(catalogue: Catalogue, name: str) -> tuple[str, dict[str, Any]]:
    """A guest of Drenthe with an account of this name: the card, and the guest."""
    card = f"0990140{next(numbers):03d}"
    catalogue.both_services.registration.member(card)
    account = AccountDetails(f"acc-{name}", name, f"{name}@example.org", HOME, card)
    catalogue.both_services.identity.directory.accounts.append(account)
    return card, await catalogue.both_services.registers(existing(account), card)


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
    """By keyboard and labels, at the catalogue and at the account provider. Who is signed in is not asked."""
    await page.context.clear_cookies(name="sign-in-service")
    await page.goto(address)
    await page.get_by_label(library).check()
    await page.get_by_role("button", name="Inloggen").press("Enter")
    await signs_in(page, account)


async def signs_in(page: Page, account: str) -> None:
    """At the account provider: choose the account, or type another one."""
    if account in {"jan.jansen", "p.devries"}:
        await page.get_by_role("button", name=account).press("Enter")
    else:
        await page.get_by_label("Een ander account").fill(account)
        await page.get_by_role("button", name="Aanmelden met dit account").press("Enter")
    await page.wait_for_url("**/welkom")


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
    await page.get_by_role("link", name="English").click()
    await sees(page, "You are recognised", "as jan.jansen, a guest of Biblionet Drenthe", "11 December 2025")
    assert await page.locator("html").get_attribute("lang") == "en"
    await screenshot(page, "wisecat-recognised-english")
    await page.get_by_role("link", name="Nederlands").click()

    await logs_in(page, catalogue.address, "jan.jansen", "Thuisbibliotheek")
    await sees(page, "U bent herkend", "uw eigen bibliotheek")
    await logs_in(page, catalogue.address, "jan.jansen", "DOK Delft")
    await sees(page, "Welkom, u bent hier nieuw", "nieuw profiel")
    await looked_at(page, "new-actor")

    await both_services.registers({"choice": "none"}, OTHER_CARD)
    await logs_in(page, catalogue.address, "acc-piet", "Biblionet Drenthe")
    await sees(page, "Ga eerst even langs de balie", "bibliotheekpas", "koppelen")
    for_the_counter = page.get_by_role("link", name="Voor de balie: dit inlogaccount koppelen")
    await expect(for_the_counter).to_have_attribute(
        "href", re.compile(r"https://balie\.example/doorverwezen\?handle=[\w%-]+$")
    )
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


async def test_a_subscription_that_ended_today_says_so_on_the_patrons_page(
    catalogue: Catalogue, browser: Browser
) -> None:
    """It said that it ran until 28 February 2027. Without JavaScript, which nothing here needs."""
    both_services, page = catalogue.both_services, await phone(browser, javascript=False)
    card, guest = await patron(catalogue, "lid.een")
    clock = both_services.registration.clock
    clock.moment += timedelta(days=1)
    for verdict, texts in (
        (Valid(HOLDER, None, card), ("Abonnement geldig", "zonder einddatum")),
        (Valid(HOLDER, date(2027, 2, 28), card), ("tot en met 28 februari 2027",)),
        (Refused((Reason.FINES,), because_ended=False), ("geblokkeerd door uw thuisbibliotheek",)),
        (
            Refused((Reason.EXPIRED,), because_ended=True),
            ("Abonnement verlopen", "het eindigde op 12 september 2025"),
        ),
    ):
        both_services.registration.home.answers(HOME, card, verdict)
        await both_services.clerk.post(f"/v1/guests/{guest['guest_id']}/home-check")
        await both_services.deliver_all()
        await logs_in(page, catalogue.address, "acc-lid.een", "Biblionet Drenthe")
        await sees(page, "U bent herkend", *texts)
    await expect(page.get_by_role("main")).not_to_contain_text("2027")
    await screenshot(page, "wisecat-expired")
    await page.context.close()
    clock.moment -= timedelta(days=1)


async def test_single_logout_ends_the_session_at_both(catalogue: Catalogue, browser: Browser) -> None:
    page = await phone(browser)
    await logs_in(page, catalogue.address, "jan.jansen", "Thuisbibliotheek")
    await page.get_by_role("button", name="Uitloggen").press("Enter")
    await expect(page.get_by_role("status")).to_have_text("U bent uitgelogd, hier en bij uw inlogaccount.")
    await looked_at(page, "logged-out")
    await page.get_by_role("button", name="Inloggen").press("Enter")
    await signs_in(page, "jan.jansen")  # the account provider asks again

    await page.goto(f"{catalogue.accounts.url}/logout")
    await page.goto(f"{catalogue.address}/welkom")
    assert page.url == f"{catalogue.address}/"


async def test_only_the_account_provider_ends_a_session_from_behind(
    catalogue: Catalogue, browser: Browser
) -> None:
    page = await phone(browser)
    await logs_in(page, catalogue.address, "jan.jansen", "Thuisbibliotheek")
    async with httpx2.AsyncClient(base_url=catalogue.address) as stranger:
        for token in ("", "a.b.c", id_token(catalogue.both_services.identity.signer), "a" * 20_000):
            answer = await stranger.post("/einde", data={"logout_token": token})
            assert answer.status_code == 400
    await page.reload()
    await sees(page, "U bent herkend")


async def test_no_other_page_logs_a_visitor_in_or_out(catalogue: Catalogue) -> None:
    form = {"library": "1001", "taal": "nl"}
    async with (
        httpx2.AsyncClient(base_url=catalogue.address) as visitor,
        catalogue.both_services.identity.nothing_written(),
    ):
        start = await visitor.get("/", headers={"Accept-Language": "en-GB"})
        for headers, status in (
            ({"Origin": "http://elsewhere.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Host": "elsewhere.example"}, 400),
        ):
            for path in ("/login", "/logout"):
                answer = await visitor.post(path, data=form, headers=headers)
                assert answer.status_code == status
        assert (await visitor.post("/login", data={**form, "other": "x" * 5000})).status_code == 403
        assert (await visitor.post("/login", data={**form, "library": "9"})).status_code == 422
        for query in ("", "?code=x&state=y", "?error=access_denied&state=y"):  # nobody began a sign-in
            assert (await visitor.get(f"/terug{query}")).status_code == 400
    assert "Log in at the library" in start.text
    policy = start.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


JANS = SignedIn("a.b.c", "n-1", "acc-jan", "jan.jansen", None)
Responds = Callable[[httpx2.Request], httpx2.Response]


def down(_request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("nobody there")


@pytest.mark.parametrize(
    "responds",
    [
        down,
        lambda _: httpx2.Response(500, text="oops"),
        lambda _: httpx2.Response(200, json={}),
        lambda _: httpx2.Response(200, json=[]),
        lambda _: httpx2.Response(401, json={"code": "unauthenticated", "instance": "urn:uuid:1"}),
        lambda _: httpx2.Response(409, json={"code": "something-new", "instance": "urn:uuid:1"}),
        lambda _: httpx2.Response(503, json={"code": "registration-unavailable", "instance": "urn:uuid:1"}),
    ],
    ids=["down", "no-json", "empty", "list", "token", "unknown", "unavailable"],
)
async def test_i4_whatever_is_no_clear_answer_means_try_again(responds: Responds) -> None:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(responds)) as http:
        answer = await IdentityLogins("http://identity", http, held_token("token")).log_in(JANS, "1001")
    assert (answer.outcome, answer.actor_id) == (Outcome.TRY_AGAIN, None)


async def test_the_sign_in_page_of_the_account_provider_is_accessible(
    browser: Browser, catalogue: Catalogue
) -> None:
    for language in ("nl-NL", "en-GB"):
        page = await new_page(browser, language=language)
        asked = {
            "client_id": CATALOGUE_ID,
            "redirect_uri": f"{catalogue.address}{CALLBACK}",
            "response_type": "code",
            "code_challenge": "c",
            "code_challenge_method": "S256",
            "state": "s",
        }
        await page.goto(f"{catalogue.accounts.url}/authorize?{urlencode(asked)}")
        await expect(page.get_by_label("account")).to_be_visible()
        await assert_accessible(page)
