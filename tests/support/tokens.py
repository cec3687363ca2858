"""A sign-in service for tests: it signs tokens, and its public keys are in a file."""

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

ISSUER = "https://sign-in.example"


def held_token(token: str) -> Callable[[], Awaitable[str]]:
    """A service token that is always this one."""

    async def held() -> str:
        return token

    return held


class Signer:
    """Signs with one key, whose public half is written to `jwks`."""

    def __init__(self, jwks: Path, key_id: str = "key-1") -> None:
        self.jwks = jwks
        self.key = ECKey.generate_key("P-256", {"kid": key_id})
        self.publish()

    def publish(self) -> None:
        """Put the public key where services read it."""
        self.jwks.write_text(json.dumps({"keys": [self.key.as_dict(private=False)]}), "utf-8")

    def rotate(self, key_id: str) -> None:
        """From now on another key signs, and only that one is published."""
        self.key = ECKey.generate_key("P-256", {"kid": key_id})
        self.publish()

    def token(
        self, scope: object = "counter", organisation: object = "1001", sub: object = "m.visser", **more: Any
    ) -> str:
        """A token that is good for a minute; `more` overrides claims."""
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": ["registration", "identity"],
            "sub": sub,
            "scope": scope,
            "exp": int(time.time()) + 60,
        }
        if organisation is not None:
            claims["organisation"] = organisation
        return self.signed({**claims, **more})

    def signed(self, claims: dict[str, Any], typ: str | None = "at+jwt") -> str:
        """A token with exactly these claims."""
        header = {"alg": "ES256", "kid": str(self.key.kid)} | ({} if typ is None else {"typ": typ})
        return jwt.encode(header, claims, self.key)
