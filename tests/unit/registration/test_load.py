"""`registration load`: sends at its rate whatever the answers, and only to an address that is ours."""

from __future__ import annotations

from typing import Any

import httpx2
import orjson
import pytest

from registration.cli import load
from shared.cli.running import Failed
from shared.platform.http_client import HttpClient

GUESTS = load.Guests("NL-070288", "9453", None, "0991000001", "acc-")


async def test_each_guest_has_the_next_card_and_each_answer_is_counted() -> None:
    sent: list[dict[str, Any]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(orjson.loads(request.content) | {"key": request.headers["Idempotency-Key"]})
        if len(sent) == 3:
            raise httpx2.ConnectError("gone", request=request)
        return httpx2.Response(201 if len(sent) % 2 else 422)

    done: list[int] = []
    transport = httpx2.MockTransport(answer)
    async with HttpClient(base_url="http://test", transport=transport) as client:
        measured = await load.register_at(500, 0.01, GUESTS.bodies(), client, done.append)
    assert [body["card_number"] for body in sent] == [f"099100000{number}" for number in range(1, 6)]
    assert sent[0]["login_account"] == {"choice": "existing", "account_id": "acc-0991000001"}
    assert len({body["key"] for body in sent}) == 5
    assert measured.statuses == {"201": 2, "422": 2, "ConnectError": 1}
    assert len(measured.seconds) == 2
    assert done == [1] * 5


async def test_what_is_due_while_too_many_wait_is_counted_as_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "MOST_AT_ONCE", 0)
    async with HttpClient(base_url="http://test") as client:
        measured = await load.register_at(500, 0.01, GUESTS.bodies(), client, lambda _: None)
    assert measured.unsent == 5
    assert measured.shown()["not sent"] == 5


async def test_what_cannot_be_sent_in_the_time_is_counted_as_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "LATEST_SECONDS", -1.0)
    async with HttpClient(base_url="http://test") as client:
        measured = await load.register_at(500, 0.01, GUESTS.bodies(), client, lambda _: None)
    assert (measured.unsent, measured.statuses) == (5, {})


@pytest.mark.parametrize("url", ["http://127.0.0.1:8001", "http://[::1]:8001"])
def test_an_address_of_this_machine_is_ours(url: str) -> None:
    load.require_own(url, own=False)


@pytest.mark.parametrize("url", ["http://192.0.2.1", "http://", "https://[2001:db8::1]/"])
def test_another_address_needs_a_word(url: str) -> None:
    with pytest.raises(Failed, match="--yes-i-own-this"):
        load.require_own(url, own=False)
    load.require_own(url, own=True)
