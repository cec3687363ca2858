"""Login accounts at the counter: found, linked, refused, unlinked; identity's replies come by the inbox."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from shared.messaging.envelope import Message
from tests.support.registration_service import HOME, RegistrationApp, registering

JAN = {"choice": "existing", "account_id": "acc-jan"}


@pytest.fixture
async def path(clerk: httpx2.AsyncClient) -> str:
    """A guest who asked for Jan's account."""
    guest = await clerk.post("/v1/guests", json=registering(login_account=JAN))
    assert guest.json()["login_link"] == {"state": "pending", "account_id": "acc-jan", "reason": None}
    return f"/v1/guests/{guest.json()['guest_id']}"


async def answers(registration_app: RegistrationApp, path: str, version: int, kind: str, **data: Any) -> None:
    """Identity's reply arrives."""
    message = Message(
        id=uuid4(),
        source="/identity/test",
        type=kind,
        subject=UUID(path.rpartition("/")[2]),
        time=datetime.now(UTC),
        stream_version=version,
        position=version,
        correlation_id=uuid4(),
        causation_id=None,
        data=data,
    )
    await registration_app.service.inbox.receive(message)


async def link(clerk: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    return dict((await clerk.get(path)).json()["login_link"])


async def test_r17_an_account_is_found_by_its_username_at_that_library_only(
    clerk: httpx2.AsyncClient,
) -> None:
    query = {"username": "jan.jansen", "home_isil": HOME}
    found = await clerk.get("/v1/login-accounts", params=query)
    account = found.json()["account"]
    assert account.pop("account_handle")
    assert (found.status_code, account) == (
        200,
        {"account_id": "acc-jan", "username": "jan.jansen", "email": "jan@example.org"},
    )
    for other in ({"username": "jan"}, {"home_isil": "NL-083424"}):
        assert (await clerk.get("/v1/login-accounts", params=query | other)).json() == {"account": None}


async def test_identitys_yes_shows_at_the_counter(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str
) -> None:
    await answers(
        registration_app, path, 1, "login-account-linked.v1", account_id="acc-jan", actor_id="actor-1"
    )
    assert await link(clerk, path) == {"state": "linked", "account_id": "acc-jan", "reason": None}

    async with registration_app.nothing_written():
        again = await clerk.post(f"{path}/login-account", json={**JAN, "account_id": "acc-2"})
    assert (again.status_code, again.json()["code"]) == (409, "already-linked")


async def test_identitys_no_shows_with_its_reason_and_another_choice_is_possible(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str
) -> None:
    await answers(
        registration_app,
        path,
        1,
        "login-account-link-refused.v1",
        account_id="acc-jan",
        reason="account-in-use",
    )
    assert await link(clerk, path) == {
        "state": "refused",
        "account_id": "acc-jan",
        "reason": "account-in-use",
    }

    again = await clerk.post(f"{path}/login-account", json={**JAN, "account_id": "acc-2"})
    assert again.status_code == 202
    assert again.json()["login_link"] == {"state": "pending", "account_id": "acc-2", "reason": None}


async def test_i6_too_late_shows_as_such(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str
) -> None:
    await answers(
        registration_app,
        path,
        1,
        "login-account-linked-too-late.v1",
        account_id="acc-jan",
        actor_id="actor-1",
    )
    assert (await link(clerk, path))["state"] == "too_late"


async def test_i8_an_answer_that_arrives_twice_has_one_effect(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str
) -> None:
    sent = {"account_id": "acc-jan", "actor_id": "actor-1"}
    await answers(registration_app, path, 1, "login-account-linked.v1", **sent)
    before = await registration_app.written()
    await answers(registration_app, path, 1, "login-account-linked.v1", **sent)
    assert (await registration_app.written())["stored_events"] == before["stored_events"]
    assert (await link(clerk, path))["state"] == "linked"


@pytest.mark.parametrize(("method", "more"), [("POST", "/removal"), ("DELETE", "")], ids=["now", "before"])
async def test_r21_a_wrong_account_is_taken_off_with_a_reason(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str, method: str, more: str
) -> None:
    await answers(
        registration_app, path, 1, "login-account-linked.v1", account_id="acc-jan", actor_id="actor-1"
    )
    reason = {"reason": "account van een ouder"}
    unlinked = await clerk.request(method, f"{path}/login-account{more}", json=reason)
    assert (unlinked.status_code, unlinked.json()["login_link"]["state"]) == (202, "none")
    assert int(unlinked.headers["Event-Position"]) == await registration_app.service.log.position()

    linked = await clerk.post(f"{path}/login-account", json=JAN)
    assert (linked.status_code, linked.json()["login_link"]["state"]) == (202, "pending")


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": "   "}, {"reason": 7}, {"reason": "x" * 201}, {"reason": "a\nb"}]
)
async def test_r21_no_reason_no_change(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    async with registration_app.nothing_written():
        off = await clerk.post(f"{path}/login-account/removal", json=body)
        out = await clerk.post(f"{path}/deregistration", json=body)
    assert [each.json()["code"] for each in (off, out)] == ["malformed-request"] * 2


async def test_choosing_nobody_is_no_link(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, path: str
) -> None:
    async with registration_app.nothing_written():
        answer = await clerk.post(f"{path}/login-account", json={"choice": "none"})
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed-request")
