"""Whatever is sent to registration, with whatever token: a reply as described, never an error of ours."""

import asyncio
from typing import Any

import pytest

from shared.platform import limits
from tests.support.any_input import Remembered, send_anything
from tests.support.fuzzing import TIMES, volume
from tests.support.registration_service import CARD, HOME, RegistrationApp
from tests.support.served import served

CARDS = [CARD, *(f"09902{number:05}" for number in range(40))]
SCOPES = ("counter", "accounts", "feed", "operator", "installation")
GENUINE: dict[str, list[Any]] = {
    "card_number": CARDS,
    "home_isil": [HOME],
    "isil": [HOME],
    "organisation": ["1001"],
    "branch": ["9453"],
    "subscription_code": ["346"],
    "username": ["jan.jansen"],
    "account_id": ["acc-jan"],
    "identity_document_checked": [True],
}


@pytest.mark.timeout(3600)
async def test_no_input_makes_an_error_of_ours(
    registration_app: RegistrationApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RELOAD", 0.05)  # no process of this service takes changed settings here
    for card in CARDS:
        registration_app.member(card)
    token = registration_app.signer.token
    tokens = {scope: token(scope, exp=4_000_000_000) for scope in SCOPES}
    async with served(registration_app.app) as address:
        sent = await asyncio.to_thread(
            send_anything,
            address,
            tokens,
            Remembered(GENUINE),
            name="registration's API",
            cases=volume(300, 20_000),
        )
    assert {200, 403, 404, 422} <= set(sent), sent
    assert not TIMES or {201, 401, 409} <= set(sent), sent
