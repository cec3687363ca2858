"""The Idempotency-Key of a POST: one effect, one answer, whatever happens in between."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from registration.domain.verdict import Reason, Refused, Verdict
from shared.event_log import LogOverloaded, LogUnavailable
from tests.support.registration_service import CARD, HOME, RegistrationApp, registering
from tests.support.servers import execute_as_owner

KEY = {"Idempotency-Key": "visit-1"}


async def register(clerk: httpx2.AsyncClient, body: dict[str, Any] | None = None) -> httpx2.Response:
    return await clerk.post("/v1/guests", json=body or registering(), headers=KEY)


async def test_r10_a_retried_registration_gets_the_same_answer(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    first = await register(clerk)
    async with registration_app.nothing_written():
        again = await register(clerk)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Event-Position"] == first.headers["Event-Position"]


async def test_the_answer_is_rendered_again_with_the_position_of_that_time(clerk: httpx2.AsyncClient) -> None:
    first = await register(clerk)
    guest_id = first.json()["guest_id"]
    await clerk.post(f"/v1/guests/{guest_id}/deregistration", json={"reason": "vergissing"})

    again = await register(clerk)
    assert (again.status_code, again.json()["guest_id"]) == (201, guest_id)
    assert again.json()["status"] == "deregistered"
    assert again.headers["Event-Position"] == first.headers["Event-Position"]


async def test_r10_the_same_key_with_another_body_is_refused(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    await register(clerk)
    registration_app.member("0990139313")
    async with registration_app.nothing_written():
        other = await register(clerk, registering("0990139313"))
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_the_same_json_in_another_layout_is_the_same_body(clerk: httpx2.AsyncClient) -> None:
    first = await register(clerk)
    backwards = json.dumps(dict(reversed(registering().items())), indent=3)
    again = await clerk.post(
        "/v1/guests", content=backwards, headers={**KEY, "Content-Type": "application/json"}
    )
    assert (again.status_code, again.json()) == (201, first.json())


async def test_a_key_belongs_to_its_subject(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, other_clerk: httpx2.AsyncClient
) -> None:
    first = await register(clerk)
    second = await register(other_clerk)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["guest_id"] != second.json()["guest_id"]

    async with registration_app.client(sub="a.colleague") as colleague:
        assert (await register(colleague)).json()["code"] == "already-registered"


async def test_a_key_belongs_to_the_organisation_that_its_subject_works_for(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    here = await register(clerk)
    async with registration_app.client(organisation="2002") as elsewhere:
        there = await register(elsewhere)
        assert (await register(elsewhere)).json() == there.json()
    assert there.status_code == 201, there.text
    assert there.json()["guest_id"] != here.json()["guest_id"]
    assert (await register(clerk)).json() == here.json()


async def test_a_key_belongs_to_its_route(clerk: httpx2.AsyncClient) -> None:
    guest = (await register(clerk)).json()
    path = f"/v1/guests/{guest['guest_id']}/login-account"
    linked = await clerk.post(path, json={"choice": "existing", "account_id": "acc-jan"}, headers=KEY)
    assert (linked.status_code, linked.json()["login_link"]["state"]) == (202, "pending")


@pytest.mark.parametrize(
    ("call", "body", "status"),
    [
        ("home-check", None, 200),
        ("login-account", {"choice": "new", "username": "jan", "email": "jan@example.org"}, 202),
        ("deregistration", {"reason": "vergissing"}, 200),
    ],
)
async def test_every_post_on_a_guest_is_done_once_per_key(
    registration_app: RegistrationApp,
    clerk: httpx2.AsyncClient,
    call: str,
    body: dict[str, str] | None,
    status: int,
) -> None:
    path = f"/v1/guests/{(await register(clerk)).json()['guest_id']}/{call}"
    first = await clerk.post(path, json=body, headers=KEY)
    async with registration_app.nothing_written():
        again = await clerk.post(path, json=body, headers=KEY)
    assert (first.status_code, again.status_code) == (status, status)
    assert again.json()["version"] == first.json()["version"]
    assert again.json()["login_link"] == first.json()["login_link"]
    assert again.headers["Event-Position"] == first.headers["Event-Position"]


async def test_r14_a_retried_reregistration_is_done_once(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    path = f"/v1/guests/{(await register(clerk)).json()['guest_id']}"
    registration_app.home.answers(HOME, CARD, Refused((Reason.EXPIRED,), because_ended=True))
    await clerk.post(f"{path}/home-check")
    registration_app.member()

    first = await clerk.post(f"{path}/reregistration", json={"patron_type": "04"}, headers=KEY)
    again = await clerk.post(f"{path}/reregistration", json={"patron_type": "04"}, headers=KEY)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()


async def test_r10_twins_at_the_same_moment_get_one_answer_and_one_event(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    twins = await asyncio.gather(*(register(clerk) for _ in range(8)))

    assert {twin.status_code for twin in twins} == {201}
    assert len({twin.json()["guest_id"] for twin in twins}) == 1
    assert len({twin.headers["Event-Position"] for twin in twins}) == 1
    written = await registration_app.written()
    assert (written["registrations"], written["idempotency_keys"], written["data_keys"]) == (1, 1, 1)


async def test_r10_twins_that_differ_leave_one_guest_and_one_refusal(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    registration_app.member("0990139313")
    bodies = (registering(), registering("0990139313"))
    answers = await asyncio.gather(*(register(clerk, body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 422]
    assert (await registration_app.written())["registrations"] == 1


async def test_r10_a_twin_that_is_already_registered_gets_the_winners_answer(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    """The first is acknowledged while its twin still asks home; the twin finds the guest, not the key."""
    asked, answered = asyncio.Event(), asyncio.Event()
    ask = registration_app.home.ask

    async def slow(isil: str, card_number: str) -> Verdict:
        asked.set()
        await answered.wait()
        return await ask(isil, card_number)

    registration_app.home.ask = slow  # type: ignore[method-assign]
    twin = asyncio.create_task(register(clerk))
    await asked.wait()
    registration_app.home.ask = ask  # type: ignore[method-assign]
    first = await register(clerk)
    answered.set()
    assert (await twin).json() == first.json()


class Killed(BaseException):
    """The process ends here: nothing in it can react any more."""


def ends_after_the_commit(
    registration_app: RegistrationApp, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    append = registration_app.service.log.append

    async def committed_and_then(*arguments: Any) -> int:
        await append(*arguments)
        monkeypatch.undo()
        raise end

    monkeypatch.setattr(registration_app.service.log, "append", committed_and_then)


async def test_a_retry_after_a_crash_finds_what_was_committed(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends_after_the_commit(registration_app, monkeypatch, Killed())
    with pytest.raises(Killed):
        await register(clerk)
    async with registration_app.nothing_written():
        again = await register(clerk)
    assert (again.status_code, again.json()["card_number"]) == (201, CARD)
    assert (await registration_app.written())["registrations"] == 1


async def test_an_answer_of_the_log_that_got_lost_is_found_at_once(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends_after_the_commit(registration_app, monkeypatch, LogUnavailable())
    assert (await register(clerk)).status_code == 201


async def test_a_crash_before_the_commit_leaves_the_key_free(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overloaded(*_: Any) -> int:
        monkeypatch.undo()
        raise LogOverloaded

    monkeypatch.setattr(registration_app.service.log, "append", overloaded)
    async with registration_app.nothing_written():
        refused = await register(clerk)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    assert (await register(clerk)).status_code == 201


async def test_keys_are_kept_for_24_hours_and_bodies_only_as_a_keyed_hash(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    await register(clerk)
    row = await registration_app.service.pool.fetchrow("SELECT * FROM idempotency_keys")
    assert row is not None
    assert (row["subject"], row["route"], row["key"]) == ("m.visser", "POST /v1/guests", "visit-1")
    assert len(row["body_hash"]) == 32
    assert CARD.encode() not in row["body_hash"]

    keys = registration_app.service.idempotency_keys
    await age(registration_app, "23 hours 59 minutes")
    assert await keys.forget_old() == 0
    await age(registration_app, "2 minutes")
    assert await keys.forget_old() == 1
    assert (await register(clerk)).json()["code"] == "already-registered"


async def age(registration_app: RegistrationApp, by: str) -> None:
    """Let this much time pass for every key."""
    await execute_as_owner(
        registration_app.service.pool,
        "UPDATE idempotency_keys SET created_at = created_at - $1::text::interval",
        by,
    )


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
async def test_a_key_that_is_none_is_malformed(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, key: str
) -> None:
    async with registration_app.nothing_written():
        answer = await clerk.post("/v1/guests", json=registering(), headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed-request")
    assert answer.json()["errors"][0]["field"] == "header.Idempotency-Key"
