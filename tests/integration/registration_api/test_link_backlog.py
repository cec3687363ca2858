"""More registrations than identity can link: the next ones are refused before any work (ADR 0036)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx2
import pytest

from registration.adapters import link_backlog
from tests.support.registration_service import CARD, RegistrationApp, registering

CARDS = [f"09902{number:05}" for number in range(6)]


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three guests within half a minute are a load, and an answer is late at once."""
    monkeypatch.setattr(link_backlog, "LEAST_REQUESTS", 3)
    monkeypatch.setattr(link_backlog, "WINDOW_SECONDS", 30.0)
    monkeypatch.setattr(link_backlog, "LOOK_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(link_backlog, "MOST_SECONDS", 0.0)


async def registered(clerk: httpx2.AsyncClient, app: RegistrationApp, card: str) -> UUID:
    """A guest who asks for the account `acc-<card>`."""
    app.member(card)
    account = {"choice": "existing", "account_id": app.accounts.opens(card, card)}
    answer = await clerk.post("/v1/guests", json=registering(card, login_account=account))
    assert answer.status_code == 201, answer.text
    return UUID(answer.json()["guest_id"])


async def asks_for_one_more(clerk: httpx2.AsyncClient) -> httpx2.Response:
    body: dict[str, Any] = registering(CARD)
    return await clerk.post("/v1/guests", json=body)


async def test_what_cannot_be_linked_soon_is_refused_until_identity_has_caught_up(
    clerk: httpx2.AsyncClient, registration_app: RegistrationApp
) -> None:
    guests = {card: await registered(clerk, registration_app, card) for card in CARDS}
    first, *others = guests.items()
    await registration_app.links(first[1], f"acc-{first[0]}")
    async with registration_app.nothing_written():
        refused = await asks_for_one_more(clerk)
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    for card, guest_id in others:
        await registration_app.links(guest_id, f"acc-{card}")
    assert (await asks_for_one_more(clerk)).status_code == 201


async def test_while_identity_is_away_guests_are_registered_as_ever(
    clerk: httpx2.AsyncClient, registration_app: RegistrationApp
) -> None:
    for card in CARDS:
        await registered(clerk, registration_app, card)
    assert (await asks_for_one_more(clerk)).status_code == 201


async def test_answers_that_are_not_late_refuse_nobody(
    clerk: httpx2.AsyncClient, registration_app: RegistrationApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_backlog, "MOST_SECONDS", 60.0)
    guests = [await registered(clerk, registration_app, card) for card in CARDS]
    await registration_app.links(guests[0], f"acc-{CARDS[0]}")
    assert (await asks_for_one_more(clerk)).status_code == 201
