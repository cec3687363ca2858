"""A sign-in service over real TCP whose pages are right, and a browser that signs in at it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.requests import Request

from registration.counter_ui.sign_in import SignIn

KEY = ECKey.generate_key("P-256", {"kid": "k"})
STAFF = {"sub": "m.visser", "name": "M. Visser", "organisation": "1001", "scope": "counter"}
DISCOVERY, TOKEN, KEYS, PUSHED, USERINFO = (
    "/.well-known/openid-configuration",
    *("/token", "/jwks", "/par", "/userinfo"),
)
PATHS = (DISCOVERY, TOKEN, KEYS, PUSHED, USERINFO)
"""All that it is asked for, in one sign-in."""


@dataclass
class Issuer:
    """What it says at each path. `nonce`: of the sign-in that was begun last."""

    url: str
    nonce: str = ""

    def page(self, path: str) -> bytes:
        """The honest page at this path."""
        pages: dict[str, Any] = {
            DISCOVERY: self.discovery(),
            TOKEN: {
                "access_token": "a",
                "token_type": "Bearer",
                "expires_in": 60,
                "id_token": self._id_token(),
            },
            KEYS: {"keys": [KEY.as_dict(private=False)]},
            PUSHED: {"request_uri": "urn:pushed:1", "expires_in": 60},
            USERINFO: STAFF,
        }
        return json.dumps(pages[path]).encode()

    def discovery(self) -> dict[str, object]:
        """The page of discovery."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": self.url + TOKEN,
            "jwks_uri": self.url + KEYS,
            "pushed_authorization_request_endpoint": self.url + PUSHED,
            "userinfo_endpoint": self.url + USERINFO,
            "id_token_signing_alg_values_supported": ["ES256"],
        }

    def _id_token(self) -> str:
        """A right ID token. It says nothing of what the person may do: that is at the userinfo endpoint."""
        now = int(time.time())
        times = {"iat": now, "exp": now + 60}
        claims = {"iss": self.url, "aud": "counter", "sub": STAFF["sub"], "nonce": self.nonce, **times}
        return jwt.encode({"alg": "ES256", "kid": "k"}, claims, KEY)


def sign_in(url: str) -> SignIn:
    """The counter's sign-in at this issuer."""
    return SignIn(issuer=url, client_id="counter", client_secret=None, address="http://127.0.0.1:1")


async def come_back(service: SignIn, issuer: Issuer) -> dict[str, Any]:
    """Leave for the sign-in service and come back with a code; who signed in."""
    session: dict[str, Any] = {}
    leaving = await service.begin(browser("", session))
    assert "client_id=counter" in urlsplit(leaving.headers["location"]).query
    [(name, begun)] = [(key, value) for key, value in session.items() if key.startswith("_state_")]
    issuer.nonce = begun["data"]["nonce"]
    return await service.finish(browser(f"code=c&state={name.rpartition('_')[2]}", session))


def browser(query: str, session: dict[str, Any]) -> Request:
    """A request of the browser that signs in."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/aanmelden/terug",
        "query_string": query.encode(),
        "headers": [(b"host", b"127.0.0.1:1")],
        "session": session,
    }
    return Request(scope)
