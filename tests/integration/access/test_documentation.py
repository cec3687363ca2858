"""The page `/docs` of both services in a real browser: all of it comes from the service itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, Page, Route, expect

from tests.support.browser import assert_no_complaints, new_page, open_browser, screenshot
from tests.support.identity_service import IdentityApp
from tests.support.registration_service import RegistrationApp

HOST = "service.example"
"""Not this machine: there the viewer may ask a public server for more than on loopback."""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@pytest.fixture(params=["registration", "identity"])
def app(
    request: pytest.FixtureRequest, registration_app: RegistrationApp, identity_app: IdentityApp
) -> FastAPI:
    """Each of the services."""
    return registration_app.app if request.param == "registration" else identity_app.app


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    """A visitor without a token."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=f"https://{HOST}")


async def open_docs(browser: Browser, app: FastAPI) -> Page:
    """The page, served by the app under the name HOST."""

    async def serve(route: Route) -> None:
        async with client_of(app) as visitor:
            answer = await visitor.request(route.request.method, route.request.url)
        await route.fulfill(status=answer.status_code, headers=dict(answer.headers), body=answer.content)

    page = await new_page(browser, hosts=frozenset({HOST}))
    await page.context.route(f"https://{HOST}/**", serve)
    await page.goto(f"https://{HOST}/docs")
    return page


async def test_docs_is_served_from_the_product_without_internet(app: FastAPI, browser: Browser) -> None:
    """Without internet the page was blank."""
    page = await open_docs(browser, app)
    await expect(page.locator(".info .title")).to_contain_text(app.title)
    await page.locator(".opblock-post button.opblock-summary-control").first.press("Enter")
    await expect(page.locator(".opblock.is-open .responses-table").first).to_be_visible()
    await page.locator("button.authorize").press("Enter")
    await expect(page.get_by_role("heading", name="Available authorizations")).to_be_visible()
    await screenshot(page, f"docs-{app.title.rpartition(' ')[2]}")
    assert_no_complaints(page)


async def test_the_policy_names_no_other_host_and_allows_nothing_inline(app: FastAPI) -> None:
    async with client_of(app) as visitor:
        answer = await visitor.get("/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "//" not in answer.text.replace("<!DOCTYPE html>", "")
