"""An operator destroys personal data over HTTP (R19)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.support.registration_service import RegistrationApp, registering

EXISTING = {"choice": "existing", "account_id": "acc-jan"}


@pytest.fixture
async def operator(registration_app: RegistrationApp) -> AsyncIterator[httpx2.AsyncClient]:
    """An operator of organisation 1001."""
    async with registration_app.client(scope="operator", sub="beheer") as client:
        yield client


async def register(clerk: httpx2.AsyncClient, **headers: str) -> dict[str, Any]:
    answer = await clerk.post("/v1/guests", json=registering(login_account=EXISTING), headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_r19_an_operator_erases_and_the_clerk_sees_nobody(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, operator: httpx2.AsyncClient
) -> None:
    guest = await register(clerk)
    path = f"/v1/guests/{guest['guest_id']}"
    erased = await operator.delete(f"{path}/personal-data")
    assert (erased.status_code, erased.content) == (204, b"")
    assert int(erased.headers["Event-Position"]) == await registration_app.service.log.position()
    shown = (await clerk.get(path)).json()
    assert (shown["status"], shown["header"]) == ("erased", "Persoonsgegevens gewist")
    assert (shown["details"], shown["card_number"], shown["aliases"]) == (None, None, [])
    assert shown["preferences"] is None
    assert shown["login_link"] == {"state": "none", "account_id": None, "reason": None}
    [*_, last] = await registration_app.service.log.read(0, 100)
    assert last.metadata.caused_by == "beheer"


async def test_r19_a_second_erasure_is_answered_the_same_and_is_no_event(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, operator: httpx2.AsyncClient
) -> None:
    guest = await register(clerk)
    path = f"/v1/guests/{guest['guest_id']}/personal-data"
    first = await operator.delete(path)
    async with registration_app.nothing_written():
        second = await operator.delete(path)
    assert (second.status_code, second.headers["Event-Position"]) == (204, first.headers["Event-Position"])


async def test_r19_who_got_no_answer_asks_again(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, operator: httpx2.AsyncClient, tmp_path: Path
) -> None:
    """The ledger could not be written: the person is gone, and the operator knows that not all is done."""
    guest = await register(clerk)
    path = f"/v1/guests/{guest['guest_id']}/personal-data"
    (tmp_path / "ledger").write_text("a file where the folder should be")
    assert (await operator.delete(path)).status_code == 500
    assert (await clerk.get(f"/v1/guests/{guest['guest_id']}")).json()["status"] == "erased"
    (tmp_path / "ledger").unlink()
    async with registration_app.nothing_written():
        erased = await operator.delete(path)
        assert (erased.status_code, erased.content, erased.headers.get("content-type")) == (204, b"", None)
    assert guest["guest_id"] in (tmp_path / "ledger" / "registration.jsonl").read_text()


async def test_r19_nobody_else_may_and_nobody_unknown_is_erased(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, operator: httpx2.AsyncClient
) -> None:
    guest = await register(clerk)
    async with registration_app.nothing_written():
        refused = await clerk.delete(f"/v1/guests/{guest['guest_id']}/personal-data")
        unknown = await operator.delete(f"/v1/guests/{uuid4()}/personal-data")
    assert (refused.status_code, refused.json()["code"]) == (403, "wrong-scope")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "guest-not-found")


@pytest.mark.parametrize(
    ("method", "what", "body"),
    [
        ("POST", "reregistration", {"patron_type": "04"}),
        ("POST", "login-account", EXISTING),
        ("DELETE", "login-account", {"reason": "vergissing"}),
        ("POST", "deregistration", {"reason": "vergissing"}),
        ("PUT", "preferences", {"language": "en"}),
    ],
)
async def test_r19_every_command_on_an_erased_guest_is_refused(
    *,
    registration_app: RegistrationApp,
    clerk: httpx2.AsyncClient,
    operator: httpx2.AsyncClient,
    method: str,
    what: str,
    body: dict[str, str],
) -> None:
    path = f"/v1/guests/{(await register(clerk))['guest_id']}"
    await operator.delete(f"{path}/personal-data")
    async with registration_app.nothing_written():
        answer = await clerk.request(method, f"{path}/{what}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "guest-erased")
    assert "gewist" in answer.json()["detail"]


async def test_r19_the_card_is_registered_afresh_as_another_guest_also_under_the_same_key(
    clerk: httpx2.AsyncClient, operator: httpx2.AsyncClient
) -> None:
    first = await register(clerk, **{"Idempotency-Key": "once"})
    await operator.delete(f"/v1/guests/{first['guest_id']}/personal-data")
    second = await register(clerk, **{"Idempotency-Key": "once"})
    assert second["guest_id"] != first["guest_id"]
    assert second["details"] is not None


async def test_r19_the_feed_has_the_erasure_and_nothing_finds_the_person(
    clerk: httpx2.AsyncClient, operator: httpx2.AsyncClient, identity: httpx2.AsyncClient
) -> None:
    guest = await register(clerk)
    await operator.delete(f"/v1/guests/{guest['guest_id']}/personal-data")
    items = (await identity.get(f"/v1/feed/guests/{guest['guest_id']}")).json()["items"]
    assert [item["erased"] for item in items] == [True] * len(items)
    assert items[-1]["type"] == "nl.landelijklenen.personal-data-erased.v1"
    assert items[-1]["data"] == {}
    query = {"organisation": "1001", "account_id": "acc-jan"}
    assert (await identity.get("/v1/feed/registrations", params=query)).json() == {"registrations": []}
    requested_account = await identity.get(f"/v1/feed/guests/{guest['guest_id']}/new-account")
    assert (requested_account.status_code, requested_account.json()["code"]) == (404, "no-new-account")
