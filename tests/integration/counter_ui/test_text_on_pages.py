"""A text from outside never turns the text around it: wherever a page shows one, it is isolated."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import date

import httpx2
import pytest
import pytest_asyncio

from registration.bootstrap import view_source
from registration.domain.verdict import PatronDetails, Valid
from registration.read_models import VIEWS
from tests.support.counter_pages import CounterSite, details_of, fields_of, form_of, register
from tests.support.projections import follow_all

pytestmark = pytest.mark.asyncio(loop_scope="module")
HOME = "NL-070288"
CARDS = ("0990139313", "0990139321")
NAME, STREET, EMAIL, USERNAME, REASON = (f"علی{number}" for number in range(5))
SHOWN = (NAME, STREET, EMAIL, USERNAME, REASON)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clerk(counter_site: CounterSite) -> AsyncIterator[httpx2.AsyncClient]:
    """A clerk of a counter whose guests and accounts have names that are read from right to left."""
    details = PatronDetails(NAME, date(1980, 2, 3), STREET, EMAIL)
    for card in CARDS:
        counter_site.app.home.answers(HOME, card, Valid(details, date(2026, 12, 31), card))
    counter_site.app.accounts.opens(USERNAME, CARDS[0], account_id="acc-x")
    async with counter_site.signed_in("f.deboer") as client:
        yield client


def in_the_open(html: str) -> set[str]:
    """Those of our texts that the page shows without isolation. Attributes are not shown as they are."""
    without_attributes = re.sub(r"<(/?\w+)[^>]*>", r"<\1>", html)
    outside = re.sub(r"<bdi>[^<]*</bdi>", "", without_attributes)
    return {text for text in SHOWN if text in outside}


async def shown_isolated(client: httpx2.AsyncClient, path: str, *texts: str) -> None:
    """The page shows these texts, and each of them isolated."""
    html = (await client.get(path)).text
    for text in texts:
        assert f"<bdi>{text}</bdi>" in html, f"{path} does not show {text}"
    assert in_the_open(html) == set(), path


async def test_names_reasons_and_usernames_are_isolated(
    counter_site: CounterSite, clerk: httpx2.AsyncClient
) -> None:
    assert "<bdi>Femke de Boer</bdi>" in (await clerk.get("/")).text
    home = await details_of(clerk, CARDS[0])
    assert in_the_open(home) == set()
    assert f"<bdi>{NAME}</bdi>" in home
    fields = fields_of(home, "new-guest") | {"choice": "existing", "username": USERNAME, "step": "zoek"}
    found = (await clerk.post("/gasten/nieuw/opslaan", data=fields)).text
    assert f"<bdi>{USERNAME}</bdi>" in found
    assert in_the_open(found) == set()

    guest, other = [await register(clerk, card) for card in CARDS]
    service = counter_site.app.service
    await follow_all(service, VIEWS, view_source(service.settings))
    await shown_isolated(clerk, f"{guest}/ingeschreven", NAME)
    await shown_isolated(clerk, guest, NAME, STREET, EMAIL)
    await shown_isolated(clerk, "/gasten?lijst=vandaag", NAME)
    await shown_isolated(clerk, f"{guest}/ontdubbelen", NAME)
    await shown_isolated(clerk, f"{guest}/ontdubbelen/{other.rpartition('/')[2]}", NAME, STREET)
    for action in ("uitschrijven", "wissen", "inschrijven"):
        await shown_isolated(clerk, f"{guest}/{action}", NAME)

    hidden = form_of((await clerk.get(f"{guest}/uitschrijven")).text, f"{guest}/uitschrijven")
    sent = {**hidden, "reason": f" \u202e{REASON}\u202c"}
    assert (await clerk.post(f"{guest}/uitschrijven", data=sent)).status_code == 303
    await follow_all(service, VIEWS, view_source(service.settings))
    await shown_isolated(clerk, f"{guest}?tab=historie", NAME, REASON, "Femke de Boer")


async def test_what_is_typed_has_its_own_direction(clerk: httpx2.AsyncClient) -> None:
    html = (await clerk.get("/zoeken")).text
    assert re.search(r'<input id="query"[^>]* dir="auto"', html)
