"""Two records of one person made one, over HTTP and a real database (R18)."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from registration.bootstrap import view_source
from registration.domain.verdict import PatronDetails, Valid
from registration.read_models import VIEWS
from tests.support.projections import follow_all, rebuild_all
from tests.support.registration_service import CARD, HOME, RegistrationApp, registering

SECOND_CARD, THIRD_CARD = "0990139313", "0990139321"
BORN = date(1980, 2, 3)
JANSE = PatronDetails("Jansen-Smit, J.", BORN, "Brink 1, Groningen", None)


async def registered(clerk: httpx2.AsyncClient, card: str = CARD, **more: Any) -> str:
    answer = await clerk.post("/v1/guests", json=registering(card, **more))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["guest_id"])


@pytest.fixture
async def two_guests(registration_app: RegistrationApp, clerk: httpx2.AsyncClient) -> tuple[str, str]:
    """The guest that is to stay, and the other record of the same person."""
    registration_app.member(SECOND_CARD)
    return await registered(clerk), await registered(clerk, SECOND_CARD)


async def merge(
    clerk: httpx2.AsyncClient,
    guest_id: str,
    into: str,
    *,
    confirm: bool = True,
    headers: dict[str, str] | None = None,
) -> httpx2.Response:
    body = {"into": into, "confirm": confirm}
    return await clerk.post(f"/v1/guests/{guest_id}/merge", json=body, headers=headers)


async def test_r18_first_shown_then_done(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, two_guests: tuple[str, str]
) -> None:
    first, second = two_guests
    async with registration_app.nothing_written():
        preview = await merge(clerk, second, first, confirm=False)
    shown = preview.json()
    assert (preview.status_code, "Event-Position" in preview.headers) == (200, False)
    assert (shown["merged"], shown["same_by"], shown["blocked"]) == (
        False,
        "surname-birth-date-address",
        None,
    )
    assert (shown["guest"]["guest_id"], shown["into"]["guest_id"]) == (second, first)

    done = await merge(clerk, second, first)
    assert done.status_code == 200
    assert int(done.headers["Event-Position"]) == await registration_app.service.log.position()
    body = done.json()
    assert (body["merged"], body["guest"]["merged_into"], body["guest"]["status"]) == (
        True,
        first,
        "deregistered",
    )
    rows = shown["guest"]["contributions"]
    assert body["into"]["merged_from"] == [{"guest_id": second, "contributions": rows}]
    assert body["into"]["contributions"] == shown["into"]["contributions"]
    assert (await clerk.get(f"/v1/guests/{second}")).json() == body["guest"]


async def test_r18_a_retried_merge_gets_the_same_answer(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, two_guests: tuple[str, str]
) -> None:
    first, second = two_guests
    done = await merge(clerk, second, first, headers={"Idempotency-Key": "once"})
    async with registration_app.nothing_written():
        again = await merge(clerk, second, first, headers={"Idempotency-Key": "once"})
    assert (again.json(), again.headers["Event-Position"]) == (done.json(), done.headers["Event-Position"])
    other = await merge(clerk, second, str(uuid4()), headers={"Idempotency-Key": "once"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_r18_what_blocks_it_is_shown_in_either_language(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    first = await registered(clerk)
    other = PatronDetails("J. Jansen", date(2005, 1, 1), "Brink 1, Groningen", None)
    registration_app.home.answers(HOME, SECOND_CARD, Valid(other, None, SECOND_CARD))
    second = await registered(clerk, SECOND_CARD)
    async with registration_app.nothing_written():
        preview = (await merge(clerk, second, first, confirm=False)).json()
        refused = await merge(clerk, second, first)
        english = await merge(clerk, second, first, headers={"Accept-Language": "en"})
    assert preview["blocked"] == {
        "reason": "different-birth-dates",
        "detail": "Deze twee zijn niet op dezelfde dag geboren: het is niet dezelfde persoon.",
    }
    body = refused.json()
    assert (refused.status_code, body["code"], body["reason"], body["detail"]) == (
        409,
        "merge-blocked",
        *preview["blocked"].values(),
    )
    assert english.json()["detail"].startswith("These two guests have different birth dates")
    assert "2005" not in refused.text


@pytest.mark.parametrize("confirm", [True, False])
async def test_r18_r20_what_does_not_exist_here_is_not_found(
    registration_app: RegistrationApp,
    clerk: httpx2.AsyncClient,
    other_clerk: httpx2.AsyncClient,
    confirm: bool,
) -> None:
    own, others = await registered(clerk), await registered(other_clerk)
    async with registration_app.nothing_written():
        for guest_id, into in ((own, others), (others, own), (own, str(uuid4()))):
            answer = await merge(clerk, guest_id, into, confirm=confirm)
            assert (answer.status_code, answer.json()["code"]) == (404, "guest-not-found")
        malformed = await clerk.post(f"/v1/guests/{own}/merge", json={"into": "him", "confirm": confirm})
    assert (malformed.status_code, malformed.json()["code"]) == (422, "malformed-request")


async def test_r18_other_commands_on_a_merged_record_name_the_survivor(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, two_guests: tuple[str, str]
) -> None:
    first, second = two_guests
    await merge(clerk, second, first)
    because, link = {"reason": "vergissing"}, {"choice": "existing", "account_id": "acc-jan"}
    async with registration_app.nothing_written():
        answers = [
            await clerk.post(f"/v1/guests/{second}/deregistration", json=because),
            await clerk.post(f"/v1/guests/{second}/login-account", json=link),
            await clerk.request("DELETE", f"/v1/guests/{second}/login-account", json=because),
            await clerk.post(f"/v1/guests/{second}/reregistration", json={"patron_type": "04"}),
        ]
        again = await clerk.post("/v1/guests", json=registering(SECOND_CARD))
    for answer in answers:
        body = answer.json()
        assert (answer.status_code, body["code"], body["merged_into"]) == (409, "guest-merged", first)
    assert (again.json()["code"], again.json()["guest_id"]) == ("already-registered", first)


async def test_r18_of_merges_at_once_in_a_circle_none_is_lost_and_one_guest_is_left(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, two_guests: tuple[str, str]
) -> None:
    registration_app.member(THIRD_CARD)
    guests = [*two_guests, await registered(clerk, THIRD_CARD)]
    circle = [(guests[number], guests[(number + 1) % 3]) for number in range(3)]
    answers = await asyncio.gather(*(merge(clerk, one, other) for one, other in circle))
    assert {answer.status_code for answer in answers} <= {200, 409}
    shown = [(await clerk.get(f"/v1/guests/{each}")).json() for each in guests]
    left = [each for each in shown if each["merged_into"] is None]
    done = [answer for answer in answers if answer.status_code == 200]
    assert len(left) == 3 - len(done)
    assert {each["merged_into"] for each in shown} <= {None, *(each["guest_id"] for each in left)}
    assert sum(len(each["merged_from"]) for each in shown) == len(done)


async def test_r18_a_search_for_the_merged_card_or_name_leads_to_the_survivor(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    registration_app.home.answers(HOME, SECOND_CARD, Valid(JANSE, None, SECOND_CARD))
    first, second = await registered(clerk), await registered(clerk, SECOND_CARD)
    moved = PatronDetails("J. Jansen", BORN, "Brink 1, Groningen", None)
    registration_app.home.answers(HOME, THIRD_CARD, Valid(moved, None, THIRD_CARD))
    third = await registered(clerk, THIRD_CARD)
    registration_app.home.answers(HOME, SECOND_CARD, Valid(JANSE, date(2025, 9, 1), SECOND_CARD))
    assert (await merge(clerk, second, third)).json()["code"] == "merge-blocked"
    await merge(clerk, third, first)
    service, source = registration_app.service, view_source(registration_app.service.settings)
    for refresh in (follow_all(service, VIEWS, source), rebuild_all(VIEWS, source)):
        await refresh
        for query, found in (
            (THIRD_CARD, {(first, third)}),
            (CARD, {(first, None)}),
            ("jansen brink", set()),
            ("j jansen", {(first, None), (second, None)}),
            ("0990139", {(first, None), (second, None)}),
            ("", {(first, None), (second, None)}),
        ):
            page = (await clerk.get("/v1/guests", params={"query": query})).json()["guests"]
            assert {(each["guest_id"], each["found_as"]) for each in page} == found, query
        by_status = await clerk.get("/v1/guests", params={"query": THIRD_CARD, "status": "valid"})
        assert [each["card_number"] for each in by_status.json()["guests"]] == [CARD]
        none = await clerk.get("/v1/guests", params={"query": THIRD_CARD, "status": "deregistered"})
        assert none.json()["guests"] == []
    due = await service.pool.fetch("SELECT stream_id::text FROM terms_due")
    assert {row["stream_id"] for row in due} == {first, second}
    history = (await clerk.get(f"/v1/guests/{third}/history")).json()["history"]
    assert (history[-1]["what"], history[-1]["details"], history[-1]["by"]) == (
        "guests-merged",
        {"into": first},
        "m.visser",
    )


async def test_r18_pages_with_merged_records_follow_each_other_to_the_end(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    cards = [f"09901400{number:02}" for number in range(6)]
    for card in cards:
        registration_app.member(card)
    guests = [await registered(clerk, card) for card in cards]
    for merged_record in guests[1:4]:
        assert (await merge(clerk, merged_record, guests[0])).status_code == 200
    await follow_all(registration_app.service, VIEWS, view_source(registration_app.service.settings))
    found: set[str] = set()
    parameters: dict[str, Any] = {"query": "099014000", "limit": 1}
    for _ in cards:
        page = (await clerk.get("/v1/guests", params=parameters)).json()
        found |= {each["guest_id"] for each in page["guests"]}
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert found == {guests[0], *guests[4:]}
