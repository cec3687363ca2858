"""The login account on the page of a guest: found, linked, named, refused, too late (R17, R26, I3, I6)."""

import json
from itertools import count
from uuid import UUID

import httpx2
import pytest

from registration.bootstrap import view_source
from registration.read_models import VIEWS
from shared.platform import limits
from tests.support.counter_pages import (
    CounterSite,
    fields_of,
    links_too_late,
    register,
    session_in,
)
from tests.support.guest_pages import (
    Guest,
    history_of,
    identity_links,
    identity_refuses,
    posts,
)
from tests.support.projections import follow_all

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)
EXISTING = {"choice": "existing", "username": "jan.jansen"}


async def test_r17_a_linked_account_is_named_and_a_silent_identity_holds_up_no_page(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    assert (await guest.links(clerk)).status_code == 303
    await identity_links(guest)
    page = await guest.shown(clerk, "inlogaccount")
    assert "<bdi>jan.jansen</bdi>" in page
    assert "<bdi>jan@example.org</bdi>" in page
    accounts = guest.counter_site.app.accounts
    accounts.down = True
    try:
        page = await guest.shown(clerk, "inlogaccount")
    finally:
        accounts.down = False
    assert "nu niet op te vragen" in page
    assert "Ontkoppelen" in page
    assert "jan.jansen" not in page


async def test_r26_the_history_names_each_account_with_one_question_and_waits_for_nobody(
    clerk: httpx2.AsyncClient, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = guest.counter_site.app.accounts
    await guest.links(clerk)
    await identity_links(guest)
    assert (await guest.does(clerk, "ontkoppelen", reason="van een ander")).status_code == 303
    accounts.questions.clear()
    page = await history_of(clerk, guest)
    assert page.count("<bdi>jan.jansen</bdi>") == 3, "asked for, linked and unlinked"
    assert "acc-jan" not in page
    assert accounts.questions == [["acc-jan"]]
    monkeypatch.setattr(limits, "BESIDE_A_PAGE", 0.05)
    for silence in ("down", "silent"):
        monkeypatch.setattr(accounts, silence, True)
        page = await history_of(clerk, guest)
        assert page.count("<bdi>acc-jan (gebruikersnaam nu niet op te vragen)</bdi>") == 3
        assert "jan.jansen" not in page


async def test_i3_a_search_by_username_finds_the_linked_guest_or_says_that_it_could_not_look(
    clerk: httpx2.AsyncClient, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = guest.counter_site.app.accounts
    linked = accounts.opens("lezer.hier", guest.card)
    await guest.links(clerk, "lezer.hier")
    await guest.counter_site.app.links(UUID(guest.path.rpartition("/")[2]), linked)
    service = guest.counter_site.app.service
    await follow_all(service, VIEWS, view_source(service.settings))
    merging = f"{guest.path}/ontdubbelen/zoeken"

    async def searched(path: str = "/zoeken", query: str = "lezer.hier") -> str:
        token = {"csrf_token": session_in(clerk)["csrf"]}
        return (await clerk.post(path, data=token | {"query": query})).text

    page = await searched()
    assert "1 gastlener gevonden" in page
    assert f'href="{guest.path}"' in page
    assert "niet doorzocht" not in page + await searched(merging)
    monkeypatch.setattr(accounts, "down", True)
    for page in (await searched(), await searched(merging)):
        assert "Gekoppelde inlogaccounts zijn nu niet doorzocht" in page
        assert f'href="{guest.path}" class="card"' not in page
    assert "niet doorzocht" not in await searched(query="van den berg")


async def test_i3_a_refused_account_names_the_guest_who_has_it_and_another_can_be_chosen(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    counter_site.app.accounts.opens("shared", guest.card)
    assert (await guest.links(clerk, "shared")).status_code == 303
    await identity_links(guest, "acc-shared")
    counter_site.app.member(card := f"0662{next(numbers):06d}")
    counter_site.app.accounts.opens("shared", card)
    asking = Guest(counter_site, await register(clerk, card), card)
    assert (await asking.links(clerk, "shared")).status_code == 303
    assert "Ontkoppelen" in await asking.shown(clerk, "inlogaccount")
    await identity_refuses(asking)
    page = await asking.shown(clerk, "inlogaccount")
    assert f'Dit inlogaccount is van <a href="{guest.path}"><bdi>J. Jansen</bdi></a>' in page
    assert "/ontkoppelen" not in page
    assert fields_of(page, "link")
    assert f'href="{guest.path}">' in await asking.shown(clerk, "meldingen")
    assert f'href="{guest.path}">' in (await clerk.get(f"{asking.path}/ingeschreven")).text
    async with counter_site.app.client(iss=counter_site.issuer.url) as caller:
        shown = await caller.get(f"/v1/guests/{asking.path.rpartition('/')[2]}/login-account")
    assert shown.json() == {
        "account_id": "acc-shared",
        "username": "shared",
        "email": "shared@example.org",
        "other_guest": guest.path.rpartition("/")[2],
    }


async def test_r17_r21_an_account_is_searched_linked_shown_live_and_unlinked_with_a_reason(
    clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    taken = await guest.links(clerk)
    assert taken.headers["location"] == f"{guest.path}?tab=inlogaccount"
    async with clerk.stream("GET", f"{guest.path}/koppeling") as stream:
        updates = (json.loads(line[6:]) async for line in stream.aiter_lines() if line.startswith("data: "))
        assert (await anext(updates))["pending"]
        await identity_links(guest)
        assert [(each["kind"], each["pending"]) async for each in updates] == [("success", False)]
    assert "Inlogaccount gekoppeld" in await guest.shown(clerk, "inlogaccount")
    unlinked = await guest.does(clerk, "ontkoppelen", reason="account van een ouder")
    assert unlinked.status_code == 303
    assert "Geen inlogaccount" in await guest.shown(clerk, "inlogaccount")
    assert "account van een ouder" in await history_of(clerk, guest)


async def test_i6_too_late_has_a_way_on_and_who_may_not_take_it_reads_whom_to_ask(
    counter_site: CounterSite, clerk: httpx2.AsyncClient, guest: Guest
) -> None:
    assert (await guest.links(clerk)).status_code == 303
    merge = f"{guest.path}/inlogs-samenvoegen"
    await links_too_late(counter_site.app, guest.path, blocked="different-birth-dates")
    tab = await guest.shown(clerk, "inlogaccount")
    assert "Vraag een collega met het recht op inlogaccounts" in tab
    assert merge not in tab
    async with counter_site.app.nothing_written(), counter_site.signed_in("f.deboer") as operator:
        for answer in (await clerk.get(merge), await posts(clerk, guest, "inlogs-samenvoegen", reason="o")):
            assert (answer.status_code, "U heeft geen toegang" in answer.text) == (403, True)
        assert f'href="{merge}"' in await guest.shown(operator, "inlogaccount")
        page = (await operator.get(merge)).text
        assert "De geboortedatums zijn niet gelijk." in page
        assert '<form method="post" action="' + merge not in page
        refused = await posts(operator, guest, "inlogs-samenvoegen", reason="omdat")
        assert (refused.status_code, "niet dezelfde persoon" in refused.text) == (409, True)
    await links_too_late(counter_site.app, guest.path)
    async with counter_site.signed_in("f.deboer") as operator:
        page = (await operator.get(merge)).text
        for shown in ("01-09-2025 11:30", "bij 1 bibliotheek", "niet te vergelijken"):
            assert shown in page
        assert 'form="actor-merge" formaction="/taal"' in page, "a change of language keeps the reason"
        assert (await guest.does(operator, "inlogs-samenvoegen", reason=" ")).status_code == 422
        assert (await guest.does(operator, "inlogs-samenvoegen", reason="had al ingelogd")).status_code == 303
        tab = await guest.shown(operator, "inlogaccount")
        assert (merge in tab, "Inlogaccount gekoppeld" in tab) == (False, True)
        history = await history_of(operator, guest)
        assert "Samenvoegen van twee inlogs gevraagd</td><td><bdi>Femke de Boer</bdi></td>" in history
        assert "had al ingelogd" in history
