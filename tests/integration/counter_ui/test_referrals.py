"""The way of a patron whom the catalogue sent to the counter (I12): scan, look, link, and back."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from urllib.parse import quote

import httpx2
import pytest

from registration.bootstrap import view_source
from registration.read_models import VIEWS
from shared.kernel.login_account import REFERRALS
from shared.platform.secrets import Handles
from tests.support.counter_pages import CounterSite, fields_of, register
from tests.support.projections import follow_all

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
RETURN_TO = "https://catalogus.example/inloggen"
LIFETIME = timedelta(minutes=15)
EXPIRED = "Deze doorverwijzing van de catalogus is verlopen, of is niet voor uw instantie."


def referral(site: CounterSite, organisation: str = "1001", ago: timedelta = timedelta()) -> str:
    """A handle as identity makes it, for the account acc-jan."""
    deps = site.app.service.deps
    handles = Handles([deps.person_ref_key], REFERRALS, LIFETIME)
    return handles.seal(["acc-jan", RETURN_TO], (organisation,), deps.clock.now() - ago)


async def scans(clerk: httpx2.AsyncClient, handle: str, card: str) -> httpx2.Response:
    page = await clerk.get("/doorverwezen", params={"handle": handle})
    assert page.status_code == 200, page.text
    assert "jan" not in page.text  # nothing of the account before the card
    return await clerk.post("/doorverwezen", data=fields_of(page.text, "scan") | {"card_number": card})


async def guest_with(
    site: CounterSite, clerk: httpx2.AsyncClient, account_on: str | None = None
) -> tuple[str, str]:
    """The page of a guest without an account, and its card; the account is on that card or another one."""
    card = f"0661{next(numbers):06d}"
    site.app.member(card)
    site.app.accounts.opens("jan", account_on or card)
    guest = await register(clerk, card, choice="none")
    service = site.app.service
    await follow_all(service, VIEWS, view_source(service.settings))  # no card prefix leads to its library
    return guest, card


async def test_i12_the_clerk_scans_the_card_links_the_account_and_the_patron_goes_back(
    counter_site: CounterSite,
) -> None:
    handle = referral(counter_site)
    async with counter_site.signed_in() as clerk:
        path, card = await guest_with(counter_site, clerk)
        async with counter_site.app.nothing_written():
            found = await scans(clerk, handle, card)
        assert (found.status_code, "jan@example.org" in found.text) == (200, True)
        fields = fields_of(found.text, "link")
        done = await clerk.post(f"{path}/koppelen", data=fields | {"step": "koppel"})
        assert done.headers["location"] == f"{path}?tab=inlogaccount&referral={quote(handle)}"
        page = (await clerk.get(done.headers["location"])).text
        assert "Koppeling in behandeling" in page
        assert f'href="{RETURN_TO}"' in page
        assert RETURN_TO not in (await clerk.get(f"{path}?tab=inlogaccount&referral=x{handle}")).text


async def test_i12_an_account_on_another_card_still_needs_a_reason(counter_site: CounterSite) -> None:
    async with counter_site.signed_in() as clerk:
        path, card = await guest_with(counter_site, clerk, account_on="0550999999")
        found = await scans(clerk, referral(counter_site), card)
        assert "staat op een andere pas" in found.text
        fields = fields_of(found.text, "link")
        async with counter_site.app.nothing_written():
            again = await clerk.post(f"{path}/koppelen", data=fields | {"step": "koppel"})
        assert (again.status_code, "Vul in waarom" in again.text) == (422, True)
        assert fields_of(again.text, "link")["referral"] == fields["referral"]


async def test_i12_a_referral_opens_for_its_organisation_and_for_a_short_time(
    counter_site: CounterSite,
) -> None:
    async with counter_site.signed_in() as clerk:
        for handle in ("", "x", referral(counter_site, "2002"), referral(counter_site, ago=LIFETIME)):
            page = await clerk.get("/doorverwezen", params={"handle": handle})
            assert (page.status_code, EXPIRED in page.text) == (422, True)
        form = fields_of(
            (await clerk.get("/doorverwezen", params={"handle": referral(counter_site)})).text, "scan"
        )
        late = {**form, "handle": referral(counter_site, ago=LIFETIME), "card_number": "0661999999"}
        assert EXPIRED in (await clerk.post("/doorverwezen", data=late)).text


@pytest.mark.parametrize(
    ("card", "says", "is_scanned_again"),
    [
        ("0661999998", "Ga naar Balie, schrijf de klant in en koppel daarbij het inlogaccount.", False),
        ("!", "is geen pasnummer", True),
    ],
)
async def test_i12_another_card_opens_nobody(
    counter_site: CounterSite, card: str, says: str, *, is_scanned_again: bool
) -> None:
    async with counter_site.signed_in() as clerk, counter_site.app.nothing_written():
        answer = await scans(clerk, referral(counter_site), card)
    assert (answer.status_code, says in answer.text) == (422, True)
    assert ("Scan de pas opnieuw" in answer.text) is is_scanned_again
    assert fields_of(answer.text, "scan")["card_number"] == card


async def test_i12_who_is_not_signed_in_comes_to_the_page_after_signing_in(counter_site: CounterSite) -> None:
    wanted = f"/doorverwezen?handle={referral(counter_site)}"
    async with counter_site.visitor() as visitor:
        leaving = await visitor.get(wanted)
        begun = await visitor.get(leaving.headers["location"])
        back = await visitor.get(await counter_site.come_back(begun))
    assert back.headers["location"] == wanted
