"""ID tokens and logout tokens: what a sign-in service says about a person to one of its clients.

Sources: OpenID Connect Core 1.0, section 3.1.3.7; OpenID Connect Back-Channel Logout 1.0, section 2.6.
"""

import hmac
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError

from shared.web.issuer import WrongClaim, require_issuer, wrong_type
from shared.web.security import (
    LEEWAY_SECONDS,
    UNREADABLE,
    InvalidToken,
    KeySource,
    header_of,
    refusal_of,
    signed_content,
)

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TOKEN_SECONDS = 120
"""A logout token is sent at once: an older one is a repeated one."""
_ID_TOKEN_TYPES = frozenset({"", "jwt"})
_LOGOUT_TOKEN_TYPES = _ID_TOKEN_TYPES | {"logout+jwt"}


@dataclass(frozen=True, slots=True)
class Provider:
    """A sign-in service whose tokens count. `clock` returns seconds since the epoch."""

    issuer: str
    keys: KeySource
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """Who logged out: all sessions of `subject`, or only the session `session_id` of the sign-in service.

    `token_id`: of the token that says it, to recognise a repeated one.
    """

    subject: str | None
    session_id: str | None
    token_id: str


def issuer_named_in(token: str) -> str:
    """Return which issuer a token claims to be of; nothing is verified yet. Raises InvalidToken."""
    header_of(token)
    try:
        issuer = json.loads(jws.extract_compact(token.encode()).payload).get("iss")
    except (JoseError, *UNREADABLE) as error:
        raise InvalidToken(refusal_of(error)) from error
    if not isinstance(issuer, str):
        raise InvalidToken(str(wrong_type("iss", "a text", issuer)))
    return issuer


async def id_token_claims(
    token: str,
    provider: Provider,
    clients: Collection[str],
    *,
    nonce: str | None,
    nonce_required: bool,
    seconds: int,
) -> Mapping[str, Any]:
    """Return the claims of an ID token that was issued to one of these clients, at most `seconds` ago.

    `nonce`: what the client sent to the sign-in service. If it is required, or given, the token must hold it.
    Raises InvalidToken, or KeysUnavailable without any key.
    """
    claims = await _verified(token, provider, clients, _ID_TOKEN_TYPES, seconds, essential=("sub", "exp"))
    if "events" in claims or claims.get("typ", "ID") != "ID" or claims.get("token_use", "id") != "id":
        raise InvalidToken("it is a token of another kind, not an ID token")
    if nonce is None:
        if nonce_required:
            raise InvalidToken("the request has no nonce")
    elif not hmac.compare_digest(nonce.encode(), str(claims.get("nonce", "")).encode()):
        raise InvalidToken("the claim nonce is not the nonce of the request")
    return claims


async def logout_token(token: str, provider: Provider, client: str) -> LoggedOut:
    """Return who logged out at the sign-in service. Raises InvalidToken, or KeysUnavailable without any key.

    Whether it is a repeated one, whose `jti` was seen before, is for the caller to know.
    """
    claims = await _verified(
        token, provider, (client,), _LOGOUT_TOKEN_TYPES, LOGOUT_TOKEN_SECONDS, essential=("jti",)
    )
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise InvalidToken("the claim events does not say that it is a logout token")
    if "nonce" in claims:
        raise InvalidToken("a logout token must have no nonce")
    if claims.get("sub") is None and claims.get("sid") is None:
        raise InvalidToken("it has neither sub nor sid")
    return LoggedOut(_text(claims, "sub"), _text(claims, "sid"), str(claims["jti"]))


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidToken(str(wrong_type(name, "a text", value)))
    return value


async def _verified(
    token: str,
    provider: Provider,
    clients: Collection[str],
    types: Collection[str],
    seconds: int,
    *,
    essential: Collection[str],
) -> Mapping[str, Any]:
    """Return the claims: signature, type, issuer, audience and time are right."""
    header = header_of(token)
    if str(header.get("typ", "")).lower().removeprefix("application/") not in types:
        raise InvalidToken("its header says that it is a token of another type")
    try:
        claims = (await signed_content(token, provider.keys)).claims
        require_issuer(claims.get("iss"), provider.issuer)
        now = int(provider.clock())
        for name in ("aud", "iat", *essential):
            if claims.get(name) is None:
                raise WrongClaim(f"the claim {name} is missing")
        jwt.JWTClaimsRegistry(now, LEEWAY_SECONDS).validate(claims)
        _require_audience(claims, clients)
    except (JoseError, *UNREADABLE) as error:
        raise InvalidToken(refusal_of(error)) from error
    if claims["iat"] < now - seconds - LEEWAY_SECONDS:
        raise InvalidToken(f"it was issued more than {seconds} seconds ago")
    return claims


def _require_audience(claims: Mapping[str, Any], clients: Collection[str]) -> None:
    """Raise WrongClaim unless the token is for one of these clients, and for nobody else but by its `azp`."""
    audience, party = claims["aud"], claims.get("azp")
    audiences = [audience] if isinstance(audience, str) else audience
    if party is not None and not isinstance(party, str):
        raise wrong_type("azp", "a text", party)
    if not set(audiences) & set(clients):
        raise WrongClaim("the claim aud holds no client of this catalogue")
    if (party if party is not None or len(audiences) > 1 else audiences[0]) not in clients:
        raise WrongClaim("the claim azp names no client of this catalogue")
