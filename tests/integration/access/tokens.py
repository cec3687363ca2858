"""Tokens that prove nothing, each with one fault; all else about them is right."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from tests.support.tokens import ISSUER, Signer

Claims = dict[str, Any]
Make = Callable[[Signer, Claims], str | None]


@dataclass(frozen=True)
class Fault:
    """A kind of `Authorization` that no route takes. `make` returns the token for the right claims."""

    name: str
    make: Make
    scheme: str = "Bearer"

    def header(self, signer: Signer, audience: str, scope: str, organisation: object) -> str | None:
        """The header `Authorization`, None for none."""
        claims = {
            "iss": ISSUER,
            "aud": audience,
            "sub": "m.visser",
            "scope": scope,
            "organisation": organisation,
            "exp": int(time.time()) + 60,
        }
        token = self.make(signer, claims)
        return None if token is None else f"{self.scheme} {token}"

    def __str__(self) -> str:
        return self.name


def encoded(part: bytes) -> str:
    """Base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def forged(algorithm: str, claims: Claims, secret: bytes = b"") -> str:
    """A token without a signature, or with one by a secret; made by hand, since no library makes it."""
    header = {"alg": algorithm, "kid": "key-1", "typ": "at+jwt"}
    text = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256')) if secret else ''}"


def _swapped(signer: Signer, claims: Claims) -> str:
    """Other claims under the signature of these."""
    head, _, tail = signer.signed(claims).partition(".")
    return ".".join((head, encoded(json.dumps({**claims, "sub": "x"}).encode()), tail.partition(".")[2]))


def _by_stranger(key_id: str) -> Make:
    header = {"alg": "ES256", "kid": key_id, "typ": "at+jwt"}
    return lambda _, claims: jwt.encode(header, claims, ECKey.generate_key("P-256", {"kid": key_id}))


def _with(**changed: Any) -> Make:
    """The right claims but for these; a callable gets the time, None leaves the claim out."""

    def make(signer: Signer, claims: Claims) -> str:
        now = int(time.time())
        values = {name: value(now) if callable(value) else value for name, value in changed.items()}
        merged = {**claims, **values}
        return signer.signed({name: value for name, value in merged.items() if value is not None})

    return make


def _typed(typ: str | None) -> Make:
    return lambda signer, claims: signer.signed(claims, typ)


FAULTS = [
    Fault("none at all", lambda *_: None),
    Fault("basic", lambda *_: "bTpi", scheme="Basic"),
    Fault("not a token", lambda *_: "not-a-token"),
    Fault("endless", lambda *_: "a" * 10_000),
    Fault("unsigned", lambda _, claims: forged("none", claims)),
    Fault("unsigned in other letters", lambda _, claims: forged("nOnE", claims)),
    # The public key, which is no secret, as the secret of a symmetric signature.
    Fault(
        "signed with the public key",
        lambda signer, claims: forged("HS256", claims, signer.key.as_pem(private=False)),
    ),
    Fault("signed by a stranger", _by_stranger("key-1")),
    Fault("of an unknown key", _by_stranger("key-2")),
    Fault("changed", _swapped),
    Fault("expired", _with(exp=lambda now: now - 31)),
    Fault("of no end", _with(exp=None)),
    Fault("not yet good", _with(nbf=lambda now: now + 60)),
    Fault("issued in the future", _with(iat=lambda now: now + 60)),
    Fault("issued at no time", _with(iat="yesterday")),
    Fault("of another issuer", _with(iss="https://elsewhere.example")),
    Fault("of no issuer", _with(iss=None)),
    Fault("for nobody", _with(aud=None)),
    Fault("for another service", _with(aud="wisecat")),
    Fault("for others", _with(aud=["wisecat", "counter"])),
    Fault("for a number", _with(aud=7)),
    Fault("an ID token for this service", _with(nonce="n-1")),
    Fault("an ID token with a hash", _with(at_hash="MTIzNDU2Nzg5MDEyMzQ1Ng")),
    Fault("an ID token that says so", _with(typ="ID")),
    Fault("an ID token of another maker", _with(token_use="id")),
    Fault("a token of another type", _typed("JWT")),
    Fault("a token of no type", _typed(None)),
    Fault("of nobody", _with(sub="")),
    Fault("of a subject with U+0000", _with(sub="m\x00")),
    Fault("of an endless subject", _with(sub="m" * 256)),
    Fault("of a subject that turns the text around", _with(sub="m\u202evisser")),
    Fault("of no subject", _with(sub=None)),
    Fault("of a number as subject", _with(sub=7)),
    Fault("of a list of scopes", _with(scope=["counter"])),
    Fault("of a numeric organisation", _with(organisation=1001)),
    Fault("of numeric organisations", _with(organisation=["1001", 1001])),
]
