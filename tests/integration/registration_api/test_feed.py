"""What other services read: the feed, a person's registrations, a requested account (ADR 0004)."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest

from shared.kernel.library_card import person_ref
from shared.messaging.envelope import Message
from tests.support.registration_service import CARD, HOME, RegistrationApp, registering

EXISTING = {"choice": "existing", "account_id": "acc-jan"}
NEW = {"choice": "new", "username": "jan.nieuw", "email": "jan@example.org"}


async def register(clerk: httpx2.AsyncClient, choice: dict[str, str], **more: Any) -> dict[str, Any]:
    answer = await clerk.post("/v1/guests", json=registering(login_account=choice, **more))
    assert answer.status_code == 201
    return dict(answer.json())


async def test_the_feed_serves_what_was_committed_in_order_and_nothing_personal(
    clerk: httpx2.AsyncClient, identity: httpx2.AsyncClient
) -> None:
    guest = await register(clerk, NEW)
    page = await identity.get("/v1/feed")
    messages = [Message.from_cloudevent(item) for item in page.json()["items"]]

    assert messages[0].type == "guest-registered.v1"
    assert [message.stream_version for message in messages] == list(range(1, guest["version"] + 1))
    assert page.json()["position"] == messages[-1].position
    for personal in (CARD, "Jansen", "1980-02-03", "example.org", "jan.nieuw"):
        assert personal not in page.text
    of_guest = await identity.get(f"/v1/feed/guests/{guest['guest_id']}")
    assert of_guest.json()["items"] == page.json()["items"]


async def test_registrations_are_found_by_account_and_by_person_at_once(
    registration_app: RegistrationApp, clerk: httpx2.AsyncClient, identity: httpx2.AsyncClient
) -> None:
    guest = await register(clerk, EXISTING)
    person = person_ref(registration_app.service.deps.person_ref_key, HOME, CARD)

    for query in (
        {"account_id": "acc-jan"},
        {"person_ref": person},
        {"account_id": "acc-x", "person_ref": person},
    ):
        found = await identity.get("/v1/feed/registrations", params={"organisation": "1001", **query})
        assert [each["guest_id"] for each in found.json()["registrations"]] == [guest["guest_id"]]
        first = Message.from_cloudevent(found.json()["registrations"][0]["messages"][0])
        assert (first.type, first.stream_version) == ("guest-registered.v1", 1)
        assert first.data["login_account"] == EXISTING
    for query in (
        {"organisation": "2002", "account_id": "acc-jan"},
        {"organisation": "1001", "account_id": "acc-x"},
    ):
        assert (await identity.get("/v1/feed/registrations", params=query)).json() == {"registrations": []}


@pytest.mark.parametrize("query", [{}, {"organisation": "1001"}, {"account_id": "acc-jan"}])
async def test_a_question_about_nobody_is_malformed(
    identity: httpx2.AsyncClient, query: dict[str, str]
) -> None:
    answer = await identity.get("/v1/feed/registrations", params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "malformed-request")


async def test_i2_the_data_of_a_requested_account(
    clerk: httpx2.AsyncClient, identity: httpx2.AsyncClient
) -> None:
    guest = await register(clerk, NEW)
    account_id = guest["login_link"]["account_id"]
    assert (guest["login_link"]["state"], account_id[:4]) == ("pending", "acc-")

    path = f"/v1/feed/guests/{guest['guest_id']}/new-account"
    requested_account = {
        "account_id": account_id,
        "home_isil": HOME,
        "merged_isils": [],
        "username": "jan.nieuw",
        "email": "jan@example.org",
    }
    assert (await identity.get(path)).json() == requested_account
    assert (await identity.get(path, params={"account_id": account_id})).json() == requested_account

    unknown = await identity.get(path, params={"account_id": "acc-x"})
    nobody = await identity.get(f"/v1/feed/guests/{uuid4()}/new-account")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "no-new-account")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "guest-not-found")


async def test_without_a_requested_account_there_is_no_data(
    clerk: httpx2.AsyncClient, identity: httpx2.AsyncClient
) -> None:
    guest = await register(clerk, {"choice": "none"})
    answer = await identity.get(f"/v1/feed/guests/{guest['guest_id']}/new-account")
    assert (answer.status_code, answer.json()["code"]) == (404, "no-new-account")
