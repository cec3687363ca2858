"""Two guests, and two actors, made one: both services together, over HTTP (R18, I6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from itertools import chain
from typing import Any
from uuid import UUID

import httpx2
import pytest

from registration.domain.verdict import PatronDetails, Valid
from tests.support.both_services import JAN, OTHER_CARD, PIET, BothServices, existing
from tests.support.registration_service import CARD, HOME

ROUNDS = 8


@pytest.fixture
async def operator(both_services: BothServices) -> AsyncIterator[httpx2.AsyncClient]:
    """Who may merge actors."""
    async with both_services.identity.client("accounts", "operator") as client:
        yield client


async def merged(both_services: BothServices, guest: dict[str, Any], into: dict[str, Any]) -> dict[str, Any]:
    answer = await both_services.clerk.post(
        f"/v1/guests/{guest['guest_id']}/merge", json={"into": into["guest_id"], "confirm": True}
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def merge_actors(
    operator: httpx2.AsyncClient,
    actor: str,
    into: str,
    *,
    confirm: bool = True,
    headers: dict[str, str] | None = None,
) -> httpx2.Response:
    body = {"into": into, "confirm": confirm}
    return await operator.post(f"/v1/actors/{actor}/merge", json=body, headers=headers)


async def test_r18_the_survivor_s_link_wins_and_the_other_s_is_released(both_services: BothServices) -> None:
    survivor = await both_services.registers(existing(JAN))
    other = await both_services.registers(existing(PIET), OTHER_CARD)
    await both_services.deliver_all()
    assert (await merged(both_services, other, survivor))["kept_account"] == "acc-jan"
    await both_services.deliver_all()
    assert (await both_services.link_of(survivor))["state"] == "linked"
    assert (await both_services.link_of(other))["state"] == "none"
    assert (await both_services.logs_in()).json()["guest"]["guest_id"] == survivor["guest_id"]
    # Piet's card is known here, as this guest's; it has another account.
    assert (await both_services.logs_in(PIET)).json()["code"] == "link-required"


async def test_r18_i5_a_login_just_after_the_merge_asks_about_it_itself(both_services: BothServices) -> None:
    """Nothing is delivered: the login barrier fetches all of it."""
    survivor = await both_services.registers({"choice": "none"})
    other = await both_services.registers(existing(PIET), OTHER_CARD)
    await merged(both_services, other, survivor)
    assert (await both_services.logs_in(PIET)).json()["code"] == "link-required"
    asked = await both_services.clerk.post(
        f"/v1/guests/{survivor['guest_id']}/login-account", json=existing(PIET)
    )
    assert asked.status_code == 202
    answer = (await both_services.logs_in(PIET)).json()
    assert (answer["outcome"], answer["guest"]["guest_id"]) == ("recognised", survivor["guest_id"])
    assert (await both_services.link_of(survivor))["state"] == "linked"


async def test_r18_r19_an_erased_survivor_takes_the_other_record_along_on_both_sides(
    both_services: BothServices,
) -> None:
    survivor = await both_services.registers(existing(JAN))
    other = await both_services.registers(existing(PIET), OTHER_CARD)
    await both_services.deliver_all()
    await merged(both_services, other, survivor)
    await both_services.erases(survivor)
    await both_services.deliver_all()
    await both_services.catch_up_views()
    for guest in (survivor, other):
        shown = (await both_services.clerk.get(f"/v1/guests/{guest['guest_id']}")).json()
        assert (shown["status"], shown["merged_into"], shown["merged_from"]) == ("erased", None, [])
    pool = both_services.registration.service.pool
    for table in ("guest_directory", "guest_words", "registrations", "registration_accounts", "data_keys"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608
    assert await both_services.identity.service.pool.fetchval("SELECT count(*) FROM accounts") == 0


async def too_late(both_services: BothServices) -> tuple[str, str, dict[str, Any]]:
    """The account's actor, the one of a login before the registration, and the guest."""
    own_actor = (await both_services.logs_in()).json()["actor_id"]
    guest = await both_services.registers(existing(JAN))
    assert (await both_services.link_of(guest))["state"] == "too_late"
    async with both_services.identity.client("accounts") as caller:
        account = (await caller.get("/v1/login-accounts/acc-jan")).json()
    return account["actor_id"], own_actor, guest


async def test_i6_too_late_is_mended_with_one_actor_and_both_sides_agree(
    both_services: BothServices, operator: httpx2.AsyncClient
) -> None:
    of_account, of_login, guest = await too_late(both_services)
    async with both_services.identity.nothing_written():
        preview = (await merge_actors(operator, of_login, of_account, confirm=False)).json()
    assert (preview["merged"], preview["birth_dates"], preview["blocked"]) == (False, "unknown", None)
    assert [each["guest_id"] for each in preview["actor"]["links"]] == [guest["guest_id"]]

    done = await merge_actors(operator, of_login, of_account, headers={"Idempotency-Key": "once"})
    assert (done.status_code, done.json()["merged"]) == (200, True)
    async with both_services.identity.nothing_written():
        again = await merge_actors(operator, of_login, of_account, headers={"Idempotency-Key": "once"})
    assert (again.json(), again.headers["Event-Position"]) == (done.json(), done.headers["Event-Position"])

    answer = (await both_services.logs_in()).json()
    assert (answer["outcome"], answer["actor_id"], answer["first_login"]) == ("recognised", of_account, False)
    assert answer["guest"]["guest_id"] == guest["guest_id"]
    assert (await both_services.link_of(guest))["state"] == "linked"
    merged_record = (await operator.get(f"/v1/actors/{of_login}")).json()
    assert (merged_record["merged_into"], merged_record["links"], merged_record["logins"]) == (
        of_account,
        [],
        [],
    )
    assert (await operator.get(f"/v1/actors/{of_account}")).json()["merged_from"] == [of_login]


async def test_i6_too_late_is_mended_at_the_counter_with_a_reason_and_both_sides_agree(
    both_services: BothServices,
) -> None:
    of_account, of_login, guest = await too_late(both_services)
    path, reason = f"/v1/guests/{guest['guest_id']}/actor-merge", {"reason": "had al ingelogd"}
    async with both_services.registration.client(scope="counter accounts", sub="m.visser") as clerk:
        shown = (await clerk.get(path)).json()
        assert (shown["actor"]["actor_id"], shown["into"]["actor_id"]) == (of_login, of_account)
        assert [shown[each]["guest_here"] for each in ("actor", "into")] == [True, False]
        assert (shown["birth_dates"], shown["blocked"]) == ("unknown", None)
        done = await clerk.post(path, json=reason, headers={"Idempotency-Key": "once"})
        assert (done.status_code, done.json()["login_link"]["state"]) == (200, "linked"), done.text
        async with both_services.registration.nothing_written():
            again = await clerk.post(path, json=reason, headers={"Idempotency-Key": "once"})
            assert again.json() == done.json()
            refused = await clerk.get(path)
            assert (refused.status_code, refused.json()["code"]) == (409, "not-too-late")
    answer = (await both_services.logs_in()).json()
    assert (answer["outcome"], answer["actor_id"]) == ("recognised", of_account)
    assert (await both_services.link_of(guest))["state"] == "linked"
    merge = next(
        event
        for event in await both_services.identity.service.log.read(0, 1000)
        if event.event_type == "identity.actor-merged"
    )
    asked = (await both_services.registration.service.log.stream(UUID(guest["guest_id"])))[-2]
    assert (asked.event_type, asked.metadata.caused_by) == (
        "registration.login-actors-merge-requested",
        "m.visser",
    )
    assert merge.metadata.correlation_id == asked.metadata.correlation_id
    assert b"ingelogd" not in asked.state, "the reason is encrypted"


async def test_i6_what_identity_blocks_is_not_merged_at_the_counter(
    both_services: BothServices, operator: httpx2.AsyncClient
) -> None:
    of_account, of_login, guest = await too_late(both_services)
    await merge_actors(operator, of_login, of_account)  # its message is not here yet
    async with (
        both_services.registration.nothing_written(),
        both_services.registration.client(scope="counter accounts") as clerk,
    ):
        answer = await clerk.post(
            f"/v1/guests/{guest['guest_id']}/actor-merge", json={"reason": "had al ingelogd"}
        )
    assert (answer.status_code, answer.json()["code"]) == (409, "not-too-late")


async def test_i6_birth_dates_are_compared_by_registration_and_not_shown(
    both_services: BothServices, operator: httpx2.AsyncClient
) -> None:
    child = PatronDetails("K. Jansen", date(2015, 1, 1), "Brink 1, Groningen", None)
    both_services.registration.home.answers(HOME, OTHER_CARD, Valid(child, None, OTHER_CARD))
    for account, card in ((JAN, CARD), (PIET, OTHER_CARD)):
        await both_services.registers(existing(account), card)
    actors = [(await both_services.logs_in(account)).json()["actor_id"] for account in (JAN, PIET)]
    async with both_services.identity.nothing_written():
        preview = await merge_actors(operator, *actors, confirm=False)
        refused = await merge_actors(operator, *actors)
        english = await merge_actors(operator, *actors, headers={"Accept-Language": "en"})
        both_services.network.reachable = False
        unknown = await merge_actors(operator, *actors)
    assert (preview.json()["birth_dates"], preview.json()["blocked"]["reason"]) == (
        "different",
        "different-birth-dates",
    )
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["reason"]) == (
        409,
        "merge-blocked",
        "different-birth-dates",
    )
    assert problem["detail"] == preview.json()["blocked"]["detail"] != english.json()["detail"]
    assert "2015" not in preview.text + refused.text
    assert (unknown.status_code, unknown.json()["code"]) == (503, "registration-unavailable")


async def test_i6_a_merge_and_logins_at_once_leave_one_actor(
    both_services: BothServices, operator: httpx2.AsyncClient
) -> None:
    of_account, of_login, _ = await too_late(both_services)
    here = [f"3{number:03}" for number in range(ROUNDS)]
    others = [[f"4{number:02}{each}" for each in range(3)] for number in range(ROUNDS)]
    catalogue = both_services.identity.of_all([*here, *chain.from_iterable(others)])
    for there, three in zip(here, others, strict=True):
        own = (await catalogue.post("/v1/logins", json=login_at(there))).json()["actor_id"]
        elsewhere = [login_at(each) for each in three]
        answers = await asyncio.gather(
            merge_actors(operator, own, of_account),
            catalogue.post("/v1/logins", json=login_at(there)),
            *(catalogue.post("/v1/logins", json=each) for each in elsewhere),
            merge_actors(operator, of_account, own),
        )
        merges, logins = [answers[0], answers[-1]], answers[1:-1]
        assert sorted(answer.status_code for answer in merges) == [200, 409]
        assert {answer.status_code for answer in logins} == {200}
        survivor = of_account if answers[0].status_code == 200 else own
        assert (await catalogue.post("/v1/logins", json=login_at(there))).json()["actor_id"] == survivor
        account = (await operator.get("/v1/login-accounts/acc-jan")).json()
        assert account["actor_id"] == survivor
        of_account = survivor
    merged_record = (await operator.get(f"/v1/actors/{of_login}")).json()
    assert merged_record["merged_into"] is None
    assert (await merge_actors(operator, of_login, of_account)).status_code == 200
    assert (await both_services.logs_in()).json()["actor_id"] == of_account


def login_at(organisation: str) -> dict[str, str]:
    return {"account_id": "acc-jan", "organisation": organisation}
