"""Who is calling: bearer tokens (JWT) checked against the issuer's public keys, and scopes per route."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from joserfc import jws, jwt
from joserfc.errors import JoseError

from shared.web.problems import Problem
from shared.web.token_keys import KeySource

# Signatures by private keys only. Never `none`, and never HS*: with HS256 allowed, anybody could sign a
# token with the issuer's *public* key as the shared secret.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
_MAX_TOKEN_CHARACTERS = 8192


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: `subject` is the one whom events name, `organisation` where a clerk works."""

    subject: str
    scopes: frozenset[str]
    organisation: str | None = None


class InvalidToken(Exception):
    """The bearer token is malformed, expired, or not signed by the issuer."""


class TokenVerifier:
    """Checks signature, algorithm, issuer and expiry of a bearer token.

    `clock` gives seconds since the epoch; `keys` are read anew for a key id not seen before.
    """

    def __init__(self, issuer: str, keys: KeySource, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()),
            iss={"essential": True, "value": issuer},
            sub={"essential": True},
            exp={"essential": True},
        )

    async def verify(self, token: str) -> Principal:
        """The caller named by the token; raises `InvalidToken`, or `KeysUnavailable` without any key yet."""
        try:
            key = await self._keys.find(self._key_id(token))
            claims = jwt.decode(token, key, algorithms=ALGORITHMS).claims
            self._claims.validate({name: value for name, value in claims.items() if name != "iat"})
            return _principal(claims)
        except (JoseError, ValueError, TypeError, LookupError) as error:
            raise InvalidToken from error

    def _key_id(self, token: str) -> str | None:
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise InvalidToken
        header = jws.extract_compact(token.encode()).headers()
        if header.get("alg") not in ALGORITHMS:
            raise InvalidToken
        return header.get("kid")


def _principal(claims: dict[str, object]) -> Principal:
    subject, scope, organisation = claims["sub"], claims.get("scope", ""), claims.get("organisation")
    if not isinstance(subject, str) or not subject or not isinstance(scope, str):
        raise InvalidToken
    if organisation is not None and not isinstance(organisation, str):
        raise InvalidToken
    return Principal(subject, frozenset(scope.split()), organisation)


_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="A token of the sign-in service")


@dataclass(frozen=True)
class RequiredScope:
    """A FastAPI dependency giving the calling `Principal`: 401 without a valid token, 403 without `scope`."""

    scope: str

    async def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Principal:
        if given is None:
            raise _unauthenticated("Log eerst in.", "A bearer token is needed.", "Bearer")
        verifier: TokenVerifier = request.app.state.token_verifier
        try:
            principal = await verifier.verify(given.credentials)
        except InvalidToken as error:
            text = "Uw aanmelding is ongeldig of verlopen. Log opnieuw in."
            raise _unauthenticated(
                text, "The token is invalid or expired.", 'Bearer error="invalid_token"'
            ) from error
        if self.scope not in principal.scopes:
            raise _forbidden(self.scope)
        request.state.principal = principal
        return principal


def requires(scope: str) -> RequiredScope:
    """The dependency for a route or router: `Depends(requires("counter"))`."""
    return RequiredScope(scope)


def _unauthenticated(dutch: str, english: str, challenge: str) -> Problem:
    return Problem(401, "unauthenticated", dutch, english, headers={"WWW-Authenticate": challenge})


def _forbidden(scope: str) -> Problem:
    challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
    return Problem(
        403,
        "wrong-scope",
        "U heeft geen toegang tot deze functie.",
        f"This needs the scope {scope}.",
        headers={"WWW-Authenticate": challenge},
    )
