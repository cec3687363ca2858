"""A small OpenID Connect issuer for the local stack: authorisation code with PKCE, and nothing else.

It asks for no password: whoever reaches it may be any of its people. It is for loopback only (sign_in.py).
"""

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import Key
from starlette.applications import Starlette
from starlette.datastructures import FormData, QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from infra.local.sign_in_page import sign_in_page

CODE_SECONDS, TOKEN_SECONDS = 60, 600


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in. `scope`: separated by spaces."""

    subject: str
    name: str
    organisation: str
    organisation_name: str
    scope: str


@dataclass(frozen=True, slots=True)
class Client:
    """Who may send people here, and where they go back to."""

    client_id: str
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class _Granted:
    person: Person
    nonce: str | None
    challenge: str
    good_until: float


class Refused(Exception):
    """The request of the client is not good."""


class Issuer:
    """Signs ID tokens with `key` for one client."""

    def __init__(self, url: str, key: Key, client: Client, people: tuple[Person, ...]) -> None:
        self.url = url
        self._key = key
        self._client = client
        self._people = {person.subject: person for person in people}
        self._codes: dict[str, _Granted] = {}

    def app(self) -> Starlette:
        """Its pages and endpoints."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/jwks", self._jwks),
                Route("/authorize", self._authorize, methods=["GET", "POST"]),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    def claims(self, person: Person, nonce: str | None) -> dict[str, Any]:
        """What the ID token says; tests make it say something else."""
        now = int(time.time())
        return {
            "iss": self.url,
            "aud": self._client.client_id,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "sub": person.subject,
            "name": person.name,
            "organisation": person.organisation,
            "scope": person.scope,
            **({"nonce": nonce} if nonce else {}),
        }

    async def _discovery(self, _request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [self._algorithm],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
            }
        )

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def _authorize(self, request: Request) -> Response:
        """The page to choose from; posted back, the way back to the client with a code."""
        asked = request.query_params if request.method == "GET" else await request.form()
        try:
            self._must_be_ours(asked)
        except Refused as refused:
            return HTMLResponse(f"<!DOCTYPE html><title>Aanmelden kan niet</title><p>{refused}", 400)
        if request.method == "GET":
            target = urlsplit(self._client.redirect_uri)
            return sign_in_page(dict(asked), self._people.values(), f"{target.scheme}://{target.netloc}")
        person = self._people.get(str(asked.get("person")))
        if person is None:
            return HTMLResponse("<!DOCTYPE html><title>Onbekend</title><p>Deze medewerker is er niet.", 400)
        back = {"code": self._code_for(person, asked), "state": str(asked["state"])}
        return RedirectResponse(f"{self._client.redirect_uri}?{urlencode(back)}", 303)

    def _must_be_ours(self, asked: QueryParams | FormData) -> None:
        """Nobody is led to an address that is not the client's."""
        wanted = {
            "client_id": self._client.client_id,
            "redirect_uri": self._client.redirect_uri,
            "response_type": "code",
            "code_challenge_method": "S256",
        }
        for name, value in wanted.items():
            if asked.get(name) != value:
                raise Refused(f"{name} klopt niet.")
        if not asked.get("state") or not asked.get("code_challenge"):
            raise Refused("state of code_challenge ontbreekt.")

    def _code_for(self, person: Person, asked: QueryParams | FormData) -> str:
        now = time.monotonic()
        self._codes = {code: granted for code, granted in self._codes.items() if granted.good_until > now}
        code = secrets.token_urlsafe(32)
        nonce = asked.get("nonce")
        self._codes[code] = _Granted(
            person, str(nonce) if nonce else None, str(asked["code_challenge"]), now + CODE_SECONDS
        )
        return code

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        # Taken out whatever comes of it: a code is good once, also for who guesses at its verifier.
        granted = self._codes.pop(str(form.get("code")), None)
        right = (
            granted is not None
            and granted.good_until > time.monotonic()
            and form.get("grant_type") == "authorization_code"
            and form.get("client_id") == self._client.client_id
            and form.get("redirect_uri") == self._client.redirect_uri
            and hmac.compare_digest(_challenge_of(str(form.get("code_verifier"))), granted.challenge)
        )
        if granted is None or not right:
            return JSONResponse({"error": "invalid_grant"}, 400, {"Cache-Control": "no-store"})
        header = {"alg": self._algorithm, "kid": self._key.kid}
        claims = self.claims(granted.person, granted.nonce)
        answer = {
            "access_token": secrets.token_urlsafe(32),
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "id_token": jwt.encode(header, claims, self._key, algorithms=[self._algorithm]),
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    @property
    def _algorithm(self) -> str:
        return "Ed25519" if self._key.key_type == "OKP" else "ES256"


def _challenge_of(verifier: str) -> str:
    """RFC 7636 section 4.6."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
