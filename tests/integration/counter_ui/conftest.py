"""The pages of a counter, over a database of its own, with a sign-in service beside them."""

from collections.abc import AsyncIterator
from itertools import count

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from infra.local.postgres import Postgres
from registration.adapters.tables import SCHEMA
from tests.support.browser import new_page, open_browser, sign_in
from tests.support.counter_pages import CounterSite, open_counter_site, register
from tests.support.guest_pages import Guest
from tests.support.servers import Databases

_guests = count(1)


@pytest.fixture
def database(databases: Databases) -> str:
    """A fresh database with registration's schema, for a counter of a test's own."""
    return databases(scripts=SCHEMA)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counter_site(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CounterSite]:
    """One for all tests of a module: starting it takes longer than most of them."""
    databases = Databases(postgres)
    async with open_counter_site(databases(scripts=SCHEMA), tmp_path_factory.mktemp("site")) as opened:
        yield opened
    databases.drop_all()


@pytest_asyncio.fixture(loop_scope="module")
async def clerk(counter_site: CounterSite) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser in which a clerk is signed in."""
    async with counter_site.signed_in() as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def guest(counter_site: CounterSite, clerk: httpx2.AsyncClient) -> Guest:
    """A fresh guest, whose username `jan` leads to an account."""
    card = f"0663{next(_guests):06d}"
    counter_site.app.member(card)
    counter_site.app.accounts.opens("jan", card)
    return Guest(counter_site, await register(clerk, card), card)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests of a module, as the counter is."""
    async with open_browser() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(counter_site: CounterSite, browser: Browser) -> AsyncIterator[Page]:
    """The screen of a desk, 1366 × 768, where a person with all scopes is signed in all day."""
    page = await new_page(browser)
    await page.set_viewport_size({"width": 1366, "height": 768})
    await sign_in(page, counter_site.address, "Femke de Boer")
    yield page
    await page.context.close()
