"""Signing in by OpenID Connect: a code with PKCE (S256), state and nonce, and an ID token that is checked."""

import warnings
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.deprecate import AuthlibDeprecationWarning
from authlib.integrations.base_client.errors import OAuthError
from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from joserfc.errors import JoseError

from shared.web.problems import Problem
from shared.web.security import ALGORITHMS

with warnings.catch_warnings():
    # It recommends the successor of httpx; ours is the httpx that all of the services use.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.integrations.starlette_client import OAuth

CALLBACK = "/aanmelden/terug"
SECONDS = 5.0
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_WANTED = ("sub", "name", "organisation", "scope")


class InsecureAddress(ValueError):
    """Sign-in over http:// is for this machine only: give an https:// address."""


class SignInFailed(Exception):
    """What came back from the sign-in service is not good: sign in again."""


class SignIn:
    """The client of the sign-in service. `address`: where browsers reach the counter.

    Raises InsecureAddress.
    """

    def __init__(self, *, issuer: str, client_id: str, client_secret: str | None, address: str) -> None:
        for each in (issuer, address):
            _must_be_secure(each)
        self._issuer = issuer
        self._client_id = client_id
        self._callback = address.rstrip("/") + CALLBACK
        self.is_secure = urlsplit(address).scheme == "https"
        self._client = OAuth().register(
            "staff",
            client_id=client_id,
            client_secret=client_secret,
            server_metadata_url=issuer.rstrip("/") + "/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile",
                "code_challenge_method": "S256",
                "timeout": SECONDS,
                "verify": httpx.create_ssl_context(),  # made once: it takes longer than the whole sign-in
                "token_endpoint_auth_method": "client_secret_basic" if client_secret else "none",
            },
        )

    async def ready(self) -> None:
        """Raises Problem when the service does not answer, or is another than the settings say."""
        await self._metadata()

    async def begin(self, request: Request) -> Response:
        """Send the browser to the sign-in service; state, nonce and verifier stay in the session.

        On this machine the counter answers to other names too (localhost), but cookies are of one name.
        """
        if not self.is_secure and request.headers.get("host") != urlsplit(self._callback).netloc:
            return RedirectResponse(self._callback.removesuffix(CALLBACK) + "/aanmelden", 303)
        await self._metadata()
        answer: Response = await self._client.authorize_redirect(request, self._callback)
        return answer

    async def finish(self, request: Request) -> dict[str, str]:
        """The claims of who came back. Raises SignInFailed, and Problem when the service does not answer."""
        metadata = await self._metadata()
        try:
            token = await self._client.authorize_access_token(
                request,
                claims_options={
                    "iss": {"essential": True, "value": self._issuer},
                    "aud": {"essential": True, "value": self._client_id},
                },
            )
            claims = dict(token["userinfo"])
            if not _complete(claims) and metadata.get("userinfo_endpoint"):
                more = dict(await self._client.userinfo(token=token))
                if more.get("sub") != claims["sub"]:
                    raise SignInFailed
                claims = more | claims
        except httpx.HTTPError as error:
            raise _unavailable() from error
        except (OAuthError, JoseError, ValueError, TypeError, LookupError) as error:
            raise SignInFailed from error
        if not _complete(claims):
            raise SignInFailed
        return {name: claims[name] for name in _WANTED}

    async def _metadata(self) -> dict[str, Any]:
        """What the service says of itself. Only public-key signatures are accepted, whatever it offers."""
        try:
            metadata: dict[str, Any] = await self._client.load_server_metadata()
        except (httpx.HTTPError, ValueError) as error:
            raise _unavailable() from error
        if metadata.get("issuer") != self._issuer:
            self._client.server_metadata.clear()
            raise _unavailable()
        offered = metadata.get("id_token_signing_alg_values_supported", ("RS256",))
        metadata["id_token_signing_alg_values_supported"] = [each for each in offered if each in ALGORITHMS]
        return metadata


def _complete(claims: dict[str, Any]) -> bool:
    return all(isinstance(claims.get(name), str) and claims[name] for name in _WANTED)


def _must_be_secure(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise InsecureAddress(f"{address}: an https:// address is needed, or http:// on this very machine")


def _unavailable() -> Problem:
    return Problem(
        503,
        "sign-in-unavailable",
        "Aanmelden kan even niet. Probeer het zo opnieuw.",
        "Sign-in is not available now. Try again in a moment.",
    )
