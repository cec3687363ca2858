"""What is checked of ID tokens (OpenID Connect Core, 3.1.3.7) and of logout tokens (Back-Channel Logout)."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, Key

from shared.web.id_tokens import (
    LOGOUT_EVENT,
    LoggedOut,
    Provider,
    id_token_claims,
    issuer_named_in,
    logout_token,
)
from shared.web.security import InvalidToken

ISSUER = "https://accounts.example"
KEY, STRANGER = (ECKey.generate_key("P-256", {"kid": "key-1"}) for _ in range(2))
NONCE = "n-0S6_WzA2Mj"
Change = Callable[[int], Mapping[str, Any]]


class OneKey:
    """A source with one key."""

    async def find(self, key_id: str | None) -> Key:
        """The key, by its id."""
        if key_id != KEY.kid:
            raise LookupError("unknown key id")
        return KEY

    async def renewed(self, key_id: str | None, known: Key) -> None:
        """There is no other."""


PROVIDER = Provider(ISSUER, OneKey())


def id_token(key: ECKey = KEY, typ: str | None = "JWT", **changed: Any) -> str:
    """A right ID token but for these claims; None leaves one out."""
    return signed(right(int(time.time())) | changed, key, typ)


def right(now: int) -> dict[str, Any]:
    """The claims of a right ID token."""
    return {"iss": ISSUER, "aud": "wisecat", "sub": "acc-jan", "iat": now, "exp": now + 600, "nonce": NONCE}


def end_of_session(key: ECKey = KEY, typ: str | None = "logout+jwt", **changed: Any) -> str:
    """A right logout token but for these claims; None leaves one out."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "wisecat", "sub": "acc-jan", "sid": "s-1", "iat": now, "exp": now + 120}
    return signed(claims | {"jti": "j-1", "events": {LOGOUT_EVENT: {}}} | changed, key, typ)


def signed(claims: Mapping[str, Any], key: ECKey, typ: str | None) -> str:
    header = {"alg": "ES256", "kid": "key-1"} | ({} if typ is None else {"typ": typ})
    return jwt.encode(header, {name: value for name, value in claims.items() if value is not None}, key)


async def account_of(token: str, nonce: str | None = NONCE, *, required: bool = True) -> Any:
    claims = await id_token_claims(
        token, PROVIDER, ["wisecat", "wisecat-app"], nonce=nonce, nonce_required=required, seconds=300
    )
    return claims["sub"]


TAKEN: dict[str, Callable[[int], str]] = {
    "as it should be": lambda _: id_token(),
    "untyped": lambda _: id_token(typ=None),
    "for a list of one": lambda _: id_token(aud=["wisecat"]),
    "for several, of one party": lambda _: id_token(aud=["elsewhere", "wisecat-app"], azp="wisecat-app"),
    "not too old": lambda now: id_token(iat=now - 290),
    "by another clock": lambda now: id_token(exp=now - 20),
}


@pytest.mark.parametrize("kind", TAKEN)
async def test_an_id_token_of_the_catalogue_names_the_account(kind: str) -> None:
    token = TAKEN[kind](int(time.time()))
    assert issuer_named_in(token) == ISSUER
    assert await account_of(token) == "acc-jan"


REFUSED: dict[str, Callable[[int], str]] = {
    "of a stranger's key": lambda _: id_token(STRANGER),
    "of another issuer": lambda _: id_token(iss="https://elsewhere.example"),
    "of no issuer": lambda _: id_token(iss=None),
    "for another catalogue": lambda _: id_token(aud="elsewhere"),
    "for nobody": lambda _: id_token(aud=None),
    "for a number": lambda _: id_token(aud=7),
    "for several, no party": lambda _: id_token(aud=["wisecat", "elsewhere"]),
    "of another party": lambda _: id_token(azp="elsewhere"),
    "of a party in a list": lambda _: id_token(azp=["wisecat"]),
    "expired": lambda now: id_token(exp=now - 31),
    "of no end": lambda _: id_token(exp=None),
    "of an endless end": lambda _: id_token(exp="later"),
    "too old": lambda now: id_token(iat=now - 331),
    "of the future": lambda now: id_token(iat=now + 60),
    "of no time": lambda _: id_token(iat=None),
    "of nobody": lambda _: id_token(sub=None),
    "an access token": lambda _: id_token(typ="at+jwt"),
    "a logout token by its type": lambda _: id_token(typ="logout+jwt"),
    "an access token by its issuer's mark": lambda now: signed(right(now) | {"typ": "Bearer"}, KEY, "JWT"),
    "an access token by another's mark": lambda _: id_token(token_use="access"),
    "a logout token by its event": lambda _: id_token(events={LOGOUT_EVENT: {}}),
    "of another nonce": lambda _: id_token(nonce="another"),
    "of no nonce": lambda _: id_token(nonce=None),
    "unsigned": lambda _: id_token().rpartition(".")[0] + ".",
    "no token": lambda _: "no-token",
    "endless": lambda _: "a" * 10_000,
}


@pytest.mark.parametrize("fault", REFUSED)
async def test_an_id_token_with_one_fault_does_not_count(fault: str) -> None:
    with pytest.raises(InvalidToken):
        await account_of(REFUSED[fault](int(time.time())))


@pytest.mark.parametrize("claims", [b"[" * 5900, b"1" * 5900, b"7", b"{}", b"\xff"])
async def test_who_issued_a_token_is_read_before_its_signature_is_verified(claims: bytes) -> None:
    payload = base64.urlsafe_b64encode(claims).decode().rstrip("=")
    header, _, signature = id_token().split(".")
    with pytest.raises(InvalidToken):
        issuer_named_in(f"{header}.{payload}.{signature}")


async def test_a_nonce_is_compared_when_it_is_given_and_asked_for_when_it_is_required() -> None:
    assert await account_of(id_token(), None, required=False) == "acc-jan"
    assert await account_of(id_token(nonce=None), None, required=False) == "acc-jan"
    for token in (id_token(nonce="another"), id_token(nonce=None)):
        with pytest.raises(InvalidToken, match="nonce"):
            await account_of(token, NONCE, required=False)
    with pytest.raises(InvalidToken, match="the request has no nonce"):
        await account_of(id_token(), None)


async def test_a_refusal_names_the_claim_and_no_value() -> None:
    with pytest.raises(InvalidToken) as refused:
        await account_of(id_token(aud="elsewhere", sub="acc-geheim"))
    assert str(refused.value) == "the claim aud holds no client of this catalogue"


async def test_a_logout_token_says_whose_session_is_over() -> None:
    for token, who in (
        (end_of_session(), LoggedOut("acc-jan", "s-1", "j-1")),
        (end_of_session(typ="JWT", sub=None), LoggedOut(None, "s-1", "j-1")),
        (end_of_session(sid=None, exp=None), LoggedOut("acc-jan", None, "j-1")),
    ):
        assert await logout_token(token, PROVIDER, "wisecat") == who


NO_LOGOUT: dict[str, Callable[[int], str]] = {
    "of a stranger's key": lambda _: end_of_session(STRANGER),
    "of another issuer": lambda _: end_of_session(iss="https://elsewhere.example"),
    "for another client": lambda _: end_of_session(aud="elsewhere"),
    "repeated later": lambda now: end_of_session(iat=now - 151, exp=None),
    "expired": lambda now: end_of_session(exp=now - 31),
    "with a nonce": lambda _: end_of_session(nonce=NONCE),
    "without an id": lambda _: end_of_session(jti=None),
    "without the event": lambda _: end_of_session(events={"elsewhere": {}}),
    "with an event that is no object": lambda _: end_of_session(events={LOGOUT_EVENT: True}),
    "of nobody": lambda _: end_of_session(sub=None, sid=None),
    "an access token": lambda _: end_of_session(typ="at+jwt"),
    "an ID token": lambda _: id_token(),
}


@pytest.mark.parametrize("fault", NO_LOGOUT)
async def test_a_logout_token_with_one_fault_ends_no_session(fault: str) -> None:
    with pytest.raises(InvalidToken):
        await logout_token(NO_LOGOUT[fault](int(time.time())), PROVIDER, "wisecat")
