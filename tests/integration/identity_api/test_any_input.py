"""Whatever is sent to identity, with whatever token: a reply as described, never an error of ours."""

import asyncio

import pytest

from shared.platform import limits
from tests.support.any_input import Remembered, send_anything
from tests.support.fuzzing import TIMES, volume
from tests.support.identity_service import IdentityApp
from tests.support.served import served

SCOPES = ("login", "accounts", "feed", "operator", "installation")
ORGANISATIONS = ("1001", "2002")
GENUINE = {
    "account_id": ["acc-jan", "acc-kind", "acc-piet"],
    "organisation": ORGANISATIONS,
    "home_isil": ["NL-070288"],
    "card_number": ["0990139305"],
    "username": ["jan", "kind", "piet"],
    "email": ["jan@example.org"],
}


@pytest.mark.timeout(3600)
async def test_no_input_makes_an_error_of_ours(
    identity_app: IdentityApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RELOAD", 0.05)  # no process of this service takes changed settings here
    token = identity_app.signer.token
    tokens = {scope: token(scope, ORGANISATIONS, exp=4_000_000_000) for scope in SCOPES}
    async with served(identity_app.app) as address:
        sent = await asyncio.to_thread(
            send_anything,
            address,
            tokens,
            Remembered(GENUINE),
            name="identity's API",
            cases=volume(150, 20_000),
        )
    assert {200, 403, 404, 422} <= set(sent), sent
    assert not TIMES or {401} <= set(sent), sent
