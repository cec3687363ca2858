"""Tokens and the keys that verify them: what counts, and when keys are read again (R20)."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import RSAKey

from registration.adapters.tables import SCHEMA
from shared.web.security import InvalidToken, JwksKeys, TokenVerifier
from tests.support.registration_service import RegistrationApp, open_registration_app
from tests.support.servers import Databases
from tests.support.tokens import ISSUER, Signer

LEEWAY = 25
"""Seconds by which clocks may differ, and a bit of time for the test."""


def claims() -> dict[str, Any]:
    """What a clerk's access token says."""
    return {
        "iss": ISSUER,
        "aud": "registration",
        "sub": "m",
        "scope": "counter",
        "organisation": "1001",
        "exp": int(time.time()) + 60,
    }


async def status_with(registration_app: RegistrationApp, token: str) -> int:
    """The status of an ordinary question with this token."""
    async with registration_app.client(token) as caller:
        return (await caller.get("/v1/subscriptions")).status_code


async def test_clocks_may_differ_by_half_a_minute(registration_app: RegistrationApp) -> None:
    now = int(time.time())
    for name, moment in (("exp", now - LEEWAY), ("nbf", now + LEEWAY), ("iat", now + LEEWAY)):
        assert await status_with(registration_app, registration_app.signer.token(**{name: moment})) == 200


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "AT+JWT"])
async def test_an_access_token_says_what_it_is(registration_app: RegistrationApp, typ: str) -> None:
    signer = registration_app.signer
    assert await status_with(registration_app, signer.signed(claims(), typ)) == 200


@pytest.mark.parametrize("end", [math.inf, math.nan])
async def test_a_token_that_ends_at_no_number_is_none(registration_app: RegistrationApp, end: float) -> None:
    assert await status_with(registration_app, registration_app.signer.token(exp=end)) == 401


async def test_an_issuer_that_does_not_mark_access_tokens_needs_a_setting(
    databases: Databases, tmp_path: Path
) -> None:
    async with open_registration_app(
        databases(scripts=SCHEMA), tmp_path, oidc_typed_tokens=False
    ) as unmarked:
        signer = unmarked.signer
        assert await status_with(unmarked, signer.signed(claims(), None)) == 200
        assert await status_with(unmarked, signer.signed({**claims(), "nonce": "n-1"}, None)) == 401


async def test_a_new_key_of_the_issuer_is_read_when_it_is_first_seen(
    registration_app: RegistrationApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = registration_app.signer.token()
    assert await status_with(registration_app, old) == 200
    registration_app.signer.rotate("key-2")
    monkeypatch.setattr(registration_app.service.token_keys, "_min_interval", 0.0)
    for token, status in ((registration_app.signer.token(), 200), (old, 401)):
        assert await status_with(registration_app, token) == status


async def test_unknown_keys_cause_one_read_in_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, reads, now = Signer(tmp_path / "jwks.json"), 0, 1000.0

    async def read() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        return {"keys": [signer.key.as_dict(private=False)]}

    monkeypatch.setattr("shared.web.security.time.monotonic", lambda: now)
    keys = JwksKeys(read)
    await keys.find("key-1")
    for now, expected in ((1000.0, 1), (1009.9, 1), (1010.0, 2), (1019.9, 2), (1020.0, 3)):
        for key_id in ("invented", "another"):
            with pytest.raises(LookupError):
                await keys.find(key_id)
        assert (now, reads) == (now, expected)


async def test_a_new_key_under_an_old_id_is_read_at_most_once_in_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature that does not fit may be of a new key; a forged one must not become a load."""
    signer, forger, reads, now = Signer(tmp_path / "one"), Signer(tmp_path / "other"), 0, 1000.0

    async def read() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        return {"keys": [signer.key.as_dict(private=False)]}

    monkeypatch.setattr("shared.web.security.time.monotonic", lambda: now)
    verifier = TokenVerifier(ISSUER, JwksKeys(read), audience="registration", typed=True)
    old = signer.token()
    await verifier.verify(old)
    for now, expected in ((1001.0, 1), (1010.0, 2), (1019.9, 2), (1020.0, 3)):
        for _ in range(3):
            with pytest.raises(InvalidToken):
                await verifier.verify(forger.token())
        await verifier.verify(old)
        assert (now, reads) == (now, expected)
    signer.key = RSAKey.generate_key(2048, {"kid": "key-1"})  # type: ignore[assignment]
    now = 1030.0
    renewed = jwt.encode({"alg": "RS256", "kid": "key-1", "typ": "at+jwt"}, claims_of(old), signer.key)
    await verifier.verify(renewed)
    assert reads == 4
    with pytest.raises(InvalidToken):
        await verifier.verify(old)


def claims_of(token: str) -> dict[str, Any]:
    return dict(json.loads(jws.extract_compact(token.encode()).payload))


async def test_readiness_reads_keys_only_when_they_are_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer publishes two keys while it changes them, and readiness is asked every few seconds."""
    keys = [Signer(tmp_path / f"{number}.json", f"key-{number}").key for number in range(2)]
    reads, now = 0, 1000.0

    async def read() -> dict[str, Any]:
        nonlocal reads
        reads += 1
        return {"keys": [key.as_dict(private=False) for key in keys]}

    monkeypatch.setattr("shared.web.security.time.monotonic", lambda: now)
    source = JwksKeys(read)
    for now, expected in ((1000.0, 1), (1011.0, 1), (1299.0, 1), (1301.0, 2), (1320.0, 2)):
        assert await source.ready() is None
        assert (now, reads) == (now, expected)


UNREADABLE: list[Any] = [
    {"kty": "EC", "crv": "P-1024", "kid": "curve", "x": "AA", "y": "AA"},
    {"kty": "RSA", "kid": "modulus", "n": "!", "e": "AQAB"},
    {"kty": "RSA", "kid": "tiny", "n": "Aw", "e": "AQAB"},
    {"kty": "EC", "crv": "P-256", "kid": "off the curve", "x": "AQ" * 21 + "A", "y": "AQ" * 21 + "A"},
    {"kty": "unknown", "kid": "type"},
    {"kty": 7},
    "no key",
    None,
]


async def test_one_key_that_cannot_be_read_spoils_no_other(registration_app: RegistrationApp) -> None:
    signer = registration_app.signer
    public = signer.key.as_dict(private=False)
    signer.jwks.write_text(json.dumps({"keys": [*UNREADABLE, public]}), "utf-8")
    assert await status_with(registration_app, signer.token()) == 200


@pytest.mark.parametrize("content", ['{"keys": []}', "{}", "no JSON", '{"keys": [{"kty": "x"}]}', "[]"])
async def test_without_a_readable_set_the_last_good_keys_are_used_for_a_while(
    registration_app: RegistrationApp, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    now = 1000.0
    monkeypatch.setattr("shared.web.security.time.monotonic", lambda: now)
    token = registration_app.signer.token(exp=int(time.time()) + 100_000)
    assert await status_with(registration_app, token) == 200
    registration_app.signer.jwks.write_text(content, "utf-8")
    now += 301
    assert await status_with(registration_app, token) == 200
    async with registration_app.client(token) as caller:
        ready = await caller.get("/health/ready")
        assert (ready.status_code, ready.json()["checks"]["token_keys"]) == (200, "stale")
        now += 3600
        refused = await caller.get("/v1/subscriptions")
        assert (refused.status_code, refused.json()["code"]) == (503, "sign-in-unavailable")
        assert (await caller.get("/health/ready")).json()["checks"]["token_keys"] == "KeysUnavailable"


async def test_without_any_key_nobody_is_refused_as_a_stranger(registration_app: RegistrationApp) -> None:
    registration_app.signer.jwks.unlink()
    async with registration_app.client() as caller:
        answer = await caller.get("/v1/subscriptions")
        ready = await caller.get("/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "sign-in-unavailable")
    assert (ready.status_code, ready.json()["checks"]["token_keys"]) == (503, "KeysUnavailable")
