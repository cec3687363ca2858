"""Finding guests, and who did what when: answered from the read models, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Any
from uuid import UUID

import httpx2
import pytest

from registration.bootstrap import worker_tasks
from registration.domain.text_matching import words_of
from registration.domain.verdict import PatronDetails, Refused, Valid
from registration.domain.verdict import Reason as Because
from tests.support.eventually import eventually
from tests.support.messaging import running
from tests.support.registration_service import HOME, JAN, RegistrationApp, registering

PEOPLE = {
    "0990000001": ("Anna Jansen", date(1980, 2, 3)),
    "0990000002": ("Jan Jansen", date(1980, 2, 3)),
    "0990000003": ("Élise van den Brûlé-Jansen", date(1975, 12, 31)),
    "0990000004": ("Bram de Vries", date(2001, 1, 1)),
    "0990000005": ("Jantine Smit", date(1999, 9, 9)),
    "0990000006": ("Ольга Іваненко", date(1990, 5, 5)),
    "0990000007": ("Łukasz O’Neill", date(1991, 6, 6)),
}


@pytest.fixture(autouse=True)
async def live_views(registration_app: RegistrationApp) -> AsyncIterator[None]:
    """The views follow the log, as in the worker."""
    tasks = worker_tasks(registration_app.service)
    async with running(tasks["views"]()):  # type: ignore[arg-type]
        yield


@pytest.fixture
async def position(registration_app: RegistrationApp, clerk: httpx2.AsyncClient) -> str:
    """The log's position when all of them are registered."""
    for card, (name, born) in PEOPLE.items():
        registration_app.home.answers(
            HOME, card, Valid(PatronDetails(name, born, None, None), date(2026, 12, 31), card)
        )
        registered = await clerk.post("/v1/guests", json=registering(card))
        assert registered.status_code == 201
    return registered.headers["Event-Position"]


async def found(clerk: httpx2.AsyncClient, **query: Any) -> list[str]:
    answer = await clerk.get("/v1/guests", params=query)
    assert answer.status_code == 200, answer.text
    return [guest["name"] for guest in answer.json()["guests"]]


BY_BEGINNINGS: dict[str, set[str]] = {
    "jansen": {"Anna Jansen", "Jan Jansen", "Élise van den Brûlé-Jansen"},
    "jan": {"Anna Jansen", "Jan Jansen", "Élise van den Brûlé-Jansen", "Jantine Smit"},
    "JAN jansen": {"Jan Jansen", "Anna Jansen", "Élise van den Brûlé-Jansen"},
    "brule el": {"Élise van den Brûlé-Jansen"},
    **{day: {"Anna Jansen", "Jan Jansen"} for day in ("03-02-1980", "03021980", "19800203", "3 feb 1980")},
    "anna 1980-02-03": {"Anna Jansen"},
    "0990000004": {"Bram de Vries"},
    "099000000": {name for name, _ in PEOPLE.values()},
    "": {name for name, _ in PEOPLE.values()},
    "nobody": set(),
    "jansen nobody": set(),
    "Ольга": {"Ольга Іваненко"},
    "іван ОЛЬ": {"Ольга Іваненко"},
    "Łuk": {"Łukasz O’Neill"},
    "lukasz o'neill": {"Łukasz O’Neill"},
    "oneill": {"Łukasz O’Neill"},
    "Мария": set(),
    "_%": set(),
    "★": set(),
}


async def test_guests_are_found_by_beginnings_of_words(clerk: httpx2.AsyncClient, position: str) -> None:
    listed = {query: await found(clerk, query=query, after_position=position) for query in BY_BEGINNINGS}
    assert {query: set(names) for query, names in listed.items()} == BY_BEGINNINGS
    assert [query for query, names in listed.items() if len(names) != len(set(names))] == []


async def test_pages_follow_each_other_by_name_both_ways(clerk: httpx2.AsyncClient, position: str) -> None:
    for query in ("", "jan", "0990"):
        whole = await found(clerk, query=query, after_position=position)
        assert whole == sorted(whole, key=lambda name: list(reversed(words_of(name))))
        there, last = await paged(clerk, query, len(whole))
        assert [name for names in there for name in names] == whole, query
        parameters: dict[str, str | int] = {"query": query, "limit": 2, "backwards": "true"}
        for names in reversed(there[:-1]):
            last = (
                await clerk.get("/v1/guests", params=parameters | {"cursor": last["previous_cursor"]})
            ).json()
            assert [guest["name"] for guest in last["guests"]] == names
            assert last["next_cursor"] is not None
        assert last["previous_cursor"] is None


async def paged(clerk: httpx2.AsyncClient, query: str, total: int) -> tuple[list[list[str]], dict[str, Any]]:
    """The names on each page of two, and the last page."""
    pages: list[list[str]] = []
    parameters: dict[str, str | int] = {"query": query, "limit": 2}
    while True:
        page = (await clerk.get("/v1/guests", params=parameters)).json()
        assert (page["total"], page["previous_cursor"] is None) == (total, not pages)
        pages.append([guest["name"] for guest in page["guests"]])
        if page["next_cursor"] is None:
            return pages, page
        parameters["cursor"] = page["next_cursor"]


async def test_a_username_finds_the_guest_whose_account_was_opened_here_while_it_is_theirs(
    clerk: httpx2.AsyncClient, other_clerk: httpx2.AsyncClient
) -> None:
    account = {"choice": "new", "username": "De.Lezer_68", "email": "lezer@example.org"}
    guest = await clerk.post("/v1/guests", json=registering(login_account=account))
    after = guest.headers["Event-Position"]
    for query in ("de.lezer_68", "lezer", "jansen LEZER"):
        assert await found(clerk, query=query, after_position=after) == ["J. Jansen"]
    assert await found(clerk, query="lezer@example.org") == []
    assert await found(other_clerk, query="de.lezer_68") == [], "R20"
    guest_id = guest.json()["guest_id"]
    unlinked = await clerk.request(
        "DELETE", f"/v1/guests/{guest_id}/login-account", json={"reason": "van een ander"}
    )
    assert await found(clerk, query="lezer", after_position=unlinked.headers["Event-Position"]) == []


async def test_a_username_finds_the_guest_whose_account_was_linked_while_it_is_theirs(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, other_clerk: httpx2.AsyncClient
) -> None:
    account = registration_app.accounts.opens("lezer.hier")
    choice = {"choice": "existing", "account_id": account}
    guest_id = (await clerk.post("/v1/guests", json=registering(login_account=choice))).json()["guest_id"]
    assert await found(clerk, query="lezer.hier") == [], "asked for, not linked"
    after = await registration_app.links(UUID(guest_id), account)

    async def page(client: httpx2.AsyncClient, query: str) -> tuple[list[str], int, str]:
        answer = await client.get("/v1/guests", params={"query": query, "after_position": after})
        body = answer.json()
        names = [guest["name"] for guest in body["guests"]]
        return names, body["total"], body["login_accounts"]

    assert await page(clerk, " lezer.hier ") == (["J. Jansen"], 1, "searched")
    assert await page(clerk, "lezer") == ([], 0, "searched"), "the whole username"
    assert await page(other_clerk, "lezer.hier") == ([], 0, "searched"), "R20"
    asked = len(registration_app.accounts.asked)
    for query in ("jansen jan", "03-02-1980", "3 feb 1980", "★", ""):
        assert (await page(clerk, query))[2] == "not-searched"
    assert len(registration_app.accounts.asked) == asked
    recorded = await registration_app.service.pool.fetch(
        "SELECT guest_id FROM lookup_guests JOIN lookups ON id = lookup_id WHERE what IS NOT NULL ORDER BY at"
    )
    assert str(recorded[0]["guest_id"]) == guest_id, "R22"
    registration_app.accounts.down = True
    assert await page(clerk, "lezer.hier") == ([], 0, "unavailable")
    assert await page(clerk, "jansen") == (["J. Jansen"], 1, "unavailable")
    registration_app.accounts.down = False
    unlinked = await clerk.request(
        "DELETE", f"/v1/guests/{guest_id}/login-account", json={"reason": "van een ander"}
    )
    after = int(unlinked.headers["Event-Position"])
    assert await page(clerk, "lezer.hier") == ([], 0, "searched")


async def test_guests_found_by_name_and_by_username_are_on_the_same_pages(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, position: str
) -> None:
    """Bram's account is called as the Jansens are."""
    account = registration_app.accounts.opens("jansen", "0990000004")
    query = {"query": "bram", "after_position": position}
    [bram] = (await clerk.get("/v1/guests", params=query)).json()["guests"]
    await clerk.post(
        f"/v1/guests/{bram['guest_id']}/login-account", json={"choice": "existing", "account_id": account}
    )
    after = await registration_app.links(UUID(bram["guest_id"]), account)
    whole = await found(clerk, query="jansen", after_position=after)
    assert set(whole) == BY_BEGINNINGS["jansen"] | {"Bram de Vries"}
    pages, _ = await paged(clerk, "jansen", 4)
    assert [name for names in pages for name in names] == whole


async def test_r18_a_merged_record_leads_to_its_guest_once(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    ids: list[str] = []
    for card in ("0990000011", "0990000012", "0990000013"):
        registration_app.member(card)
        body = registering(card, not_same_as=ids)
        ids.append((await clerk.post("/v1/guests", json=body)).json()["guest_id"])
    into = ids.pop()
    for guest_id in ids:
        merged = await clerk.post(f"/v1/guests/{guest_id}/merge", json={"into": into, "confirm": True})
    after = merged.headers["Event-Position"]
    assert merged.json()["merged"]
    for query, by in (("0990000011", ids[0]), ("09900000", None), ("jansen", None), ("", None)):
        page = (await clerk.get("/v1/guests", params={"query": query, "after_position": after})).json()
        assert [(guest["guest_id"], guest["found_as"]) for guest in page["guests"]] == [(into, by)]
        assert page["total"] == 1


async def test_r28_a_likely_duplicate_is_told_with_the_ways_to_go_on(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, other_clerk: httpx2.AsyncClient
) -> None:
    guest = await clerk.post("/v1/guests", json=registering())
    await found(clerk, after_position=guest.headers["Event-Position"])
    registration_app.member("0990000021")
    told = await clerk.post("/v1/guests", json=registering("0990000021"))
    guest_id = guest.json()["guest_id"]
    assert (told.status_code, told.json()["code"]) == (409, "likely-duplicate")
    assert told.json()["candidates"] == [{"guest_id": guest_id, "same_home_library": True}]
    assert "Jansen" not in told.text
    foreign = await other_clerk.post("/v1/guests", json=registering("0990000021"))
    assert foreign.status_code == 201, "R20"
    key = {"Idempotency-Key": "same person"}
    for _ in range(2):
        same = registering("0990000021", same_as=guest_id)
        answer = await clerk.post("/v1/guests", json=same, headers=key)
        assert (answer.status_code, answer.json()["guest_id"]) == (201, guest_id)
        assert (answer.json()["card_number"], answer.json()["aliases"]) == ("0990000021", ["0990139305"])
    registration_app.member("0990000022")
    other = registering("0990000022", not_same_as=[guest_id])
    assert (await clerk.post("/v1/guests", json=other)).json()["guest_id"] != guest_id


async def test_by_status_and_as_the_guest_itself_shows(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, position: str
) -> None:
    (guest,) = (await clerk.get("/v1/guests", params={"query": "bram", "after_position": position})).json()[
        "guests"
    ]
    registration_app.home.answers(HOME, "0990000004", Refused((Because.EXPIRED,), because_ended=True))
    checked = await clerk.post(f"/v1/guests/{guest['guest_id']}/home-check")
    after = checked.headers["Event-Position"]
    assert await found(clerk, status="expired", after_position=after) == ["Bram de Vries"]
    assert await found(clerk, status="expired", query="jan") == []
    assert "Bram de Vries" not in await found(clerk, status="valid")
    (shown,) = (await clerk.get("/v1/guests", params={"query": "bram"})).json()["guests"]
    guest = checked.json()
    for name in (
        "guest_id",
        "branch",
        "status",
        "card_number",
        "aliases",
        "home_isil",
        "header",
        "expires_on",
    ):
        assert shown[name] == guest[name]


async def test_an_alias_finds_the_guest(registration_app: RegistrationApp, clerk: httpx2.AsyncClient) -> None:
    registration_app.home.answers(HOME, "0990139362", Valid(JAN, date(2026, 12, 31), "0990139305"))
    registered = await clerk.post("/v1/guests", json=registering("0990139362"))
    position = registered.headers["Event-Position"]
    for card in ("0990139362", "0990139305"):
        (guest,) = (await clerk.get("/v1/guests", params={"query": card, "after_position": position})).json()[
            "guests"
        ]
        assert guest["guest_id"] == registered.json()["guest_id"]


@pytest.mark.parametrize("query", ["", "jan"])
async def test_r20_a_cursor_of_another_organisation_shows_nothing(
    clerk: httpx2.AsyncClient, other_clerk: httpx2.AsyncClient, position: str, query: str
) -> None:
    """Else a page behind it would show where that guest's name stands among the own ones."""
    query_of_one = {"query": "0990000002", "after_position": position}
    (guest,) = (await clerk.get("/v1/guests", params=query_of_one)).json()["guests"]
    foreign = await other_clerk.post("/v1/guests", json=registering("0990000002"))
    after = foreign.headers["Event-Position"]
    cursors = (guest["guest_id"], foreign.json()["guest_id"])
    own, others = [
        (
            await clerk.get("/v1/guests", params={"query": query, "cursor": cursor, "after_position": after})
        ).json()["guests"]
        for cursor in cursors
    ]
    assert (bool(own), others) == (True, [])


async def test_r20_guests_of_another_organisation_are_not_found(
    clerk: httpx2.AsyncClient, other_clerk: httpx2.AsyncClient, position: str
) -> None:
    (guest, *_) = (await clerk.get("/v1/guests", params={"after_position": position})).json()["guests"]
    for query in ("", "jansen", "0990000001"):
        assert await found(other_clerk, query=query, after_position=position) == []
    history = await other_clerk.get(f"/v1/guests/{guest['guest_id']}/history")
    assert (history.status_code, history.json()["code"]) == (404, "guest-not-found")


async def test_a_search_for_what_is_not_there_yet_says_when_to_come_back(
    clerk: httpx2.AsyncClient, position: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.projections.live.MOST_SECONDS", 0.1)
    guest = await eventually(lambda: some_guest(clerk))
    for path in ("/v1/guests", f"/v1/guests/{guest}/history"):
        answer = await clerk.get(path, params={"after_position": int(position) + 1})
        assert (answer.status_code, answer.json()["code"]) == (503, "view-behind")
        assert answer.headers["Retry-After"] == "1"


async def some_guest(clerk: httpx2.AsyncClient) -> str:
    guests = (await clerk.get("/v1/guests")).json()["guests"]
    return str(guests[0]["guest_id"]) if guests else ""


async def test_a_malformed_search_is_refused(clerk: httpx2.AsyncClient) -> None:
    malformed: list[dict[str, Any]] = [
        *({"limit": 0}, {"limit": 201}, {"cursor": "x"}),
        *({"status": "dead"}, {"after_position": -1}, {"query": "a\rb"}),
    ]
    answers = [await clerk.get("/v1/guests", params=query) for query in malformed]
    refused = [(answer.status_code, answer.json()["code"]) for answer in answers]
    assert refused == [(422, "malformed-request")] * len(malformed)


async def test_r20_r21_the_history_says_who_did_what_when(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    guest = (await clerk.post("/v1/guests", json=registering())).json()
    async with registration_app.client(sub="j.smit") as colleague:
        taken_back = await colleague.post(
            f"/v1/guests/{guest['guest_id']}/deregistration", json={"reason": "verkeerde pas"}
        )
    answer = await clerk.get(
        f"/v1/guests/{guest['guest_id']}/history",
        params={"after_position": taken_back.headers["Event-Position"]},
    )
    lines = answer.json()["history"]
    assert [(line["version"], line["what"], line["by"]) for line in lines] == [
        (1, "guest-registered", "m.visser"),
        (2, "lending-strips-granted", "m.visser"),
        (3, "guest-deregistered", "j.smit"),
    ]
    assert lines[2]["details"]["reason"] == "verkeerde pas"
    for personal in ("Jansen", "0990139305", "jan@example.org", "1980", "person_ref", "sealed"):
        assert personal not in answer.text


async def test_a_history_comes_in_pages(clerk: httpx2.AsyncClient) -> None:
    guest = (await clerk.post("/v1/guests", json=registering())).json()
    path = f"/v1/guests/{guest['guest_id']}"
    for chip in (False, True, False):
        done = await clerk.post(f"{path}/card-chip", json={"card_has_chip": chip, "reason": "verkeerd"})
    position = done.headers["Event-Position"]
    everything = (await clerk.get(f"{path}/history", params={"after_position": position})).json()
    assert (len(everything["history"]), everything["next_cursor"]) == (guest["version"] + 3, None)

    pages: list[dict[str, Any]] = [(await clerk.get(f"{path}/history", params={"limit": 2})).json()]
    while (cursor := pages[-1]["next_cursor"]) is not None:
        pages.append((await clerk.get(f"{path}/history", params={"limit": 2, "cursor": cursor})).json())
    assert [line for page in pages for line in page["history"]] == everything["history"]
    assert {len(page["history"]) for page in pages[:-1]} == {2}
    beyond = await clerk.get(f"{path}/history", params={"limit": 2, "cursor": 99})
    assert beyond.json() == {"history": [], "next_cursor": None}
