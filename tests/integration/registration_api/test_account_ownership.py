"""A login account is linked only if it belongs to the guest: compared at the server, never believed (R17)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from registration.bootstrap import view_source
from registration.domain.verdict import Reason, Refused
from registration.read_models.history import VIEW as HISTORY
from tests.support.projections import follow_all
from tests.support.registration_service import CARD, FRYSLAN, HOME, RegistrationApp, registering

ENDED = Refused((Reason.EXPIRED,), because_ended=True)
FATHERS_CARD = "0990139313"
REASON = "het account van de vader"


async def handle_of(clerk: httpx2.AsyncClient, username: str = "jan.jansen", isil: str = HOME) -> str:
    query = {"username": username, "home_isil": isil}
    found = (await clerk.get("/v1/login-accounts", params=query)).json()
    return str(found["account"]["account_handle"])


def by_handle(handle: str, **more: Any) -> dict[str, Any]:
    return {"choice": "existing", "account_handle": handle, **more}


def by_id(account_id: str, **more: Any) -> dict[str, Any]:
    return {"choice": "existing", "account_id": account_id, **more}


class Ways:
    """The three ways to link an existing account: each a guest, and the request with this choice."""

    def __init__(self, app: RegistrationApp, clerk: httpx2.AsyncClient) -> None:
        self._app, self._clerk = app, clerk

    async def prepare(self, way: str) -> None:
        self._path = "/v1/guests"
        if way == "register":
            return
        guest = await self._clerk.post("/v1/guests", json=registering())
        self._path = f"/v1/guests/{guest.json()['guest_id']}"
        if way == "reregister":
            self._app.home.answers(HOME, CARD, ENDED)
            checked = await self._clerk.post(f"{self._path}/home-check")
            assert checked.json()["status"] == "expired"
            self._app.member()

    async def send(self, way: str, choice: dict[str, Any]) -> httpx2.Response:
        if way == "register":
            return await self._clerk.post(self._path, json=registering(login_account=choice))
        if way == "link":
            return await self._clerk.post(f"{self._path}/login-account", json=choice)
        body = {"patron_type": "04", "login_account": choice}
        return await self._clerk.post(f"{self._path}/reregistration", json=body)


WAYS = ("register", "link", "reregister")


@pytest.fixture(params=WAYS)
async def way(request: pytest.FixtureRequest, ways: Ways) -> str:
    await ways.prepare(request.param)
    return str(request.param)


@pytest.fixture
def ways(registration_app: RegistrationApp, clerk: httpx2.AsyncClient) -> Ways:
    return Ways(registration_app, clerk)


@pytest.mark.parametrize("named", ["id", "handle"])
async def test_r17_an_account_of_another_home_library_is_refused(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, ways: Ways, way: str, named: str
) -> None:
    account_id = registration_app.accounts.opens("frysk", CARD, FRYSLAN)
    choice = by_id(account_id)
    if named == "handle":
        choice = by_handle(await handle_of(clerk, "frysk", FRYSLAN))
    async with registration_app.nothing_written():
        answer = await ways.send(way, choice)
        with_reason = await ways.send(way, choice | {"reason": REASON})
    assert (answer.status_code, answer.json()["code"]) == (409, "account-of-other-library")
    assert "Zoek het account opnieuw" in answer.json()["detail"]
    assert with_reason.json()["code"] == "account-of-other-library"


@pytest.mark.parametrize("named", ["id", "handle"])
async def test_r17_r21_an_account_on_another_card_needs_a_reason_which_is_in_the_history(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, ways: Ways, way: str, named: str
) -> None:
    choice = by_id(registration_app.accounts.opens("vader", FATHERS_CARD))
    if named == "handle":
        choice = by_handle(await handle_of(clerk, "vader"))
    async with registration_app.nothing_written():
        answer = await ways.send(way, choice)
    assert (answer.status_code, answer.json()["code"]) == (409, "account-of-other-person")

    linked = await ways.send(way, choice | {"reason": REASON})
    assert linked.is_success, linked.text
    assert linked.json()["login_link"] == {"state": "pending", "account_id": "acc-vader", "reason": None}
    service = registration_app.service
    await follow_all(service, [HISTORY], view_source(service.settings))
    lines = (await clerk.get(f"/v1/guests/{linked.json()['guest_id']}/history")).json()["history"]
    assert [line["details"].get("login_account_reason") for line in lines].count(REASON) == 1


@pytest.mark.parametrize("named", ["id", "handle"])
async def test_r17_an_account_on_the_guests_card_needs_no_reason_and_keeps_none(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, ways: Ways, way: str, named: str
) -> None:
    choice = by_id("acc-jan") if named == "id" else by_handle(await handle_of(clerk))
    linked = await ways.send(way, choice | {"reason": REASON})
    assert linked.json()["login_link"]["state"] == "pending", linked.text
    assert REASON.encode() not in b"".join(
        [event.state for event in await registration_app.service.log.read(0, 100)]
    )


async def test_r10_a_replaced_card_is_the_same_persons(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    """The account is on the number in the home library's reply; the scanned one is an alias."""
    registration_app.home.answers(HOME, "0990139362", await registration_app.home.ask(HOME, CARD))
    body = registering("0990139362", login_account=by_handle(await handle_of(clerk)))
    assert (await clerk.post("/v1/guests", json=body)).status_code == 201


async def test_r17_a_handle_that_is_late_forged_or_anothers_is_refused(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, ways: Ways, way: str
) -> None:
    handle = await handle_of(clerk)
    async with registration_app.client(sub="j.smit") as colleague:
        foreign = await handle_of(colleague)
    forged = handle[:-6] + ("AAAAAA" if handle[-6:] != "AAAAAA" else "BBBBBB")
    async with registration_app.nothing_written():
        answers = [
            await ways.send(way, by_handle(sent))
            for sent in (forged, handle[:10], "x" * 4000, "\u00e9|?", foreign)
        ]
        registration_app.clock.moment += timedelta(minutes=15)
        answers.append(await ways.send(way, by_handle(handle)))
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (422, "account-handle-invalid")
        assert "Zoek het account opnieuw." in answer.json()["detail"]


async def test_r20_a_handle_of_another_organisation_is_refused(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    """Also for the same person with a token of another organisation."""
    async with registration_app.client(organisation="2002") as elsewhere:
        handle = await handle_of(elsewhere)
    async with registration_app.nothing_written():
        answer = await clerk.post("/v1/guests", json=registering(login_account=by_handle(handle)))
    assert answer.json()["code"] == "account-handle-invalid"


async def test_r17_a_handle_works_until_it_expires(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    handle = await handle_of(clerk)
    registration_app.clock.moment += timedelta(minutes=14, seconds=59)
    answer = await clerk.post("/v1/guests", json=registering(login_account=by_handle(handle)))
    assert answer.status_code == 201, answer.text


async def test_while_identity_is_down_a_handle_is_enough_and_an_id_has_to_wait(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient
) -> None:
    handle = await handle_of(clerk)
    registration_app.accounts.down = True
    async with registration_app.nothing_written():
        answer = await clerk.post("/v1/guests", json=registering(login_account=by_id("acc-jan")))
    assert (answer.status_code, answer.json()["code"]) == (503, "login-accounts-unavailable")
    assert "Retry-After" in answer.headers
    answer = await clerk.post("/v1/guests", json=registering(login_account=by_handle(handle)))
    assert answer.status_code == 201, answer.text


async def test_i2_an_id_that_identity_does_not_know_is_left_to_identity(clerk: httpx2.AsyncClient) -> None:
    answer = await clerk.post("/v1/guests", json=registering(login_account=by_id("acc-nobody")))
    assert answer.json()["login_link"]["state"] == "pending"


@pytest.mark.parametrize(
    "choice",
    [
        {"choice": "existing"},
        {"choice": "existing", "account_id": "acc-jan", "account_handle": "x"},
        {"choice": "existing", "account_id": "acc-jan", "reason": "  "},
        {"choice": "existing", "account_handle": "x" * 4001},
    ],
    ids=range(4),
)
async def test_an_account_is_named_exactly_once(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, choice: dict[str, Any]
) -> None:
    async with registration_app.nothing_written():
        answer = await clerk.post("/v1/guests", json=registering(login_account=choice))
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed-request")
