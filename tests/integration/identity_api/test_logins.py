"""Logins over HTTP: every answer of I4, and every refusal with nothing written."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.identity import existing, new
from tests.support.identity_service import IdentityApp, login

Prepare = Callable[[IdentityApp], object]


async def test_i4_recognised_reports_the_guest_and_when_it_ends(
    identity_app: IdentityApp, wisecat: httpx2.AsyncClient, operator: httpx2.AsyncClient
) -> None:
    guest = identity_app.counter.registers("jan", existing("jan"))
    answer = await wisecat.post("/v1/logins", json=login("jan"))
    account = (await operator.get("/v1/login-accounts/acc-jan")).json()
    assert answer.status_code == 200
    assert answer.json() == {
        "outcome": "recognised",
        "actor_id": account["actor_id"],
        "first_login": True,
        "guest": {"guest_id": str(guest), "status": "valid", "ends_on": "2025-12-11"},
    }
    assert int(answer.headers["Event-Position"]) == len(await identity_app.topics())
    again = await wisecat.post("/v1/logins", json=login("jan"))
    assert again.json() == {**answer.json(), "first_login": False}
    assert "Event-Position" not in again.headers


async def test_i4_a_new_actor_and_then_recognised_as_it(wisecat: httpx2.AsyncClient) -> None:
    first = (await wisecat.post("/v1/logins", json=login("jan"))).json()
    second = (await wisecat.post("/v1/logins", json=login("jan"))).json()
    assert (first["outcome"], first["first_login"], first["guest"]) == ("new_actor", True, None)
    assert second == {**first, "outcome": "recognised", "first_login": False}


async def test_i6_too_late_shows_at_the_account_and_at_its_actor(
    identity_app: IdentityApp, wisecat: httpx2.AsyncClient, operator: httpx2.AsyncClient
) -> None:
    first = (await wisecat.post("/v1/logins", json=login("jan"))).json()
    guest = identity_app.counter.registers("jan", existing("jan"))
    await identity_app.deliver_all(guest)
    account = (await operator.get("/v1/login-accounts/acc-jan")).json()
    link = {
        "guest_id": str(guest),
        "organisation": "1001",
        "state": "too_late",
        "actor_id": first["actor_id"],
        "status": "valid",
        "ends_on": "2025-12-11",
    }
    assert account["links"] == [link]
    assert account["actor_id"] != first["actor_id"]
    assert [each["new_actor"] for each in account["logins"]] == [True]
    actor = (await operator.get(f"/v1/actors/{first['actor_id']}")).json()
    assert (actor["account_id"], actor["organisation"], actor["links"]) == ("acc-jan", "1001", [link])
    assert actor["logins"] == account["logins"]


def registration_is_down(identity_app: IdentityApp) -> None:
    identity_app.registration.unplugged = True


def directory_is_down(identity_app: IdentityApp) -> None:
    identity_app.directory.unplugged = True


def as_it_is(_app: IdentityApp) -> None:
    """Nothing to prepare."""


REFUSALS: list[tuple[int, str, Any, Prepare]] = [
    (404, "account-not-found", login("nobody"), as_it_is),
    (503, "registration-unavailable", login("jan"), registration_is_down),
    (503, "registration-unavailable", login("nobody"), registration_is_down),
    (503, "account-directory-unavailable", login("jan"), directory_is_down),
    (422, "malformed-request", {"account_id": "acc-jan"}, as_it_is),
    (422, "malformed-request", {**login("jan"), "more": 1}, as_it_is),
    (422, "malformed-request", {"account_id": 7, "organisation": "1001"}, as_it_is),
    (422, "malformed-request", {"account_id": "", "organisation": "1001"}, as_it_is),
    (422, "malformed-request", {"account_id": "acc\x00jan", "organisation": "1001"}, as_it_is),
    (422, "malformed-request", {"account_id": "x" * 201, "organisation": "1001"}, as_it_is),
    (422, "malformed-request", ["acc-jan"], as_it_is),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda value: str(value)[:40])
async def test_a_refused_login_writes_nothing(
    identity_app: IdentityApp, wisecat: httpx2.AsyncClient, refusal: tuple[int, str, Any, Prepare]
) -> None:
    status, code, body, prepare = refusal
    prepare(identity_app)
    async with identity_app.nothing_written():
        answer = await wisecat.post("/v1/logins", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert ("Retry-After" in answer.headers) == (status == 503)


@pytest.mark.parametrize("delivered", [True, False])
async def test_i4_4_link_required_makes_no_actor_and_says_so_in_two_languages(
    identity_app: IdentityApp, wisecat: httpx2.AsyncClient, delivered: bool
) -> None:
    guest = identity_app.counter.registers("jan")
    if delivered:
        await identity_app.deliver_all(guest)
    dutch = await wisecat.post("/v1/logins", json=login("jan"))
    english = await wisecat.post("/v1/logins", json=login("jan"), headers={"Accept-Language": "en"})
    assert (dutch.status_code, dutch.json()["code"]) == (409, "link-required")
    assert "balie" in dutch.json()["detail"]
    assert "counter" in english.json()["detail"]
    assert await identity_app.topics() == ["identity.guest-noted"]


async def test_i4_what_cannot_be_applied_is_try_again_until_it_can(
    identity_app: IdentityApp, wisecat: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A parked guest is tried again by each login; success unparks, failure is 503 (ADR 0004)."""
    guest = identity_app.counter.registers("kees", new("acc-created"))
    identity_app.counter.wants_new_account(guest, "acc-created", "kees")
    with monkeypatch.context() as broken:
        broken.setattr(identity_app.registration, "new_account", unexpected)
        await identity_app.deliver_all(guest)
        assert [parked.state for parked in await identity_app.service.inbox.parked.overview()] == ["parked"]
        async with identity_app.nothing_written():
            answer = await wisecat.post("/v1/logins", json=login("created"))
    assert (answer.status_code, answer.json()["code"]) == (503, "registration-unavailable")

    answer = await wisecat.post("/v1/logins", json=login("created"))
    assert answer.json()["outcome"] == "recognised"
    assert await identity_app.service.inbox.parked.overview() == []


async def unexpected(*_: Any) -> None:
    """An error of ours."""
    raise ValueError("nobody thought of this")


async def test_a_first_login_sent_again_under_its_key_is_answered_the_same(
    identity_app: IdentityApp, wisecat: httpx2.AsyncClient
) -> None:
    key = {"Idempotency-Key": "one"}
    first = await wisecat.post("/v1/logins", json=login("jan"), headers=key)
    async with identity_app.nothing_written():
        second = await wisecat.post("/v1/logins", json=login("jan"), headers=key)
    assert second.json() == first.json()
    assert second.json()["first_login"]
    assert second.headers["Event-Position"] == first.headers["Event-Position"]
    async with identity_app.nothing_written():
        other = await wisecat.post("/v1/logins", json=login("kind"), headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_first_logins_at_once_under_one_key_all_get_the_same_answer(
    identity_app: IdentityApp, wisecat: httpx2.AsyncClient
) -> None:
    answers = await asyncio.gather(
        *(wisecat.post("/v1/logins", json=login("jan"), headers={"Idempotency-Key": "one"}) for _ in range(6))
    )
    assert [answer.status_code for answer in answers] == [200] * 6
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json()["first_login"]


async def test_a_later_login_with_a_key_is_decided_again(
    identity_app: IdentityApp, wisecat: httpx2.AsyncClient
) -> None:
    await wisecat.post("/v1/logins", json=login("jan"))
    async with identity_app.nothing_written():
        answer = await wisecat.post("/v1/logins", json=login("jan"), headers={"Idempotency-Key": "later"})
    assert answer.json()["first_login"] is False


async def test_the_event_names_who_asked(identity_app: IdentityApp, wisecat: httpx2.AsyncClient) -> None:
    await wisecat.post("/v1/logins", json=login("jan"))
    assert {event.metadata.caused_by for event in await identity_app.service.log.read(0, 100)} == {"wisecat"}


@pytest.mark.parametrize(
    ("organisations", "asked", "status", "code"),
    [
        ((), "1001", 403, "wrong-organisation"),
        (("2002",), "1001", 403, "wrong-organisation"),
        (("2002", "1001"), "1001", 200, None),
        (("made-up",), "made-up", 422, "unknown-organisation"),
        (("1001",), "1001 ", 403, "wrong-organisation"),
        (("1001",), "made-up", 403, "wrong-organisation"),
    ],
)
async def test_a_catalogue_asks_and_writes_for_its_own_organisations_only(
    identity_app: IdentityApp, organisations: tuple[str, ...], asked: str, status: int, code: str | None
) -> None:
    before = await identity_app.written()
    async with identity_app.client(organisations=organisations) as catalogue:
        answer = await catalogue.post("/v1/logins", json=login("jan", asked))
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert (await identity_app.written() == before) == (status != 200)


@pytest.mark.parametrize("claim", [7, {"1001": True}, ["1001", 7], [["1001"]], True])
async def test_an_organisation_claim_of_another_type_is_no_token(
    identity_app: IdentityApp, claim: object
) -> None:
    token = identity_app.signer.token("login", claim, "wisecat")
    async with identity_app.client(token=token) as catalogue, identity_app.nothing_written():
        assert (await catalogue.post("/v1/logins", json=login("jan"))).status_code == 401
