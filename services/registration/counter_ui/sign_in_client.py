"""Authlib's client of a sign-in service, within our limits; and what goes wrong there, in our words."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from fastapi import Request
from joserfc.errors import ClaimError, ExpiredTokenError

from shared.kernel.text import summary
from shared.platform import limits
from shared.platform.http_client import BoundedReplies, trusted_authorities
from shared.web.issuer import WrongClaim, public_keys, why_unreadable
from shared.web.oauth_client import BASIC, BoundedClient, Endpoint, TokenMetadata, basic
from shared.web.problems import Problem
from shared.web.security import refusal_of

Kind = tuple[int, str, str, str]
LOST: Kind = (
    400,
    "sign-in-failed",
    "Aanmelden is niet gelukt: de poging was verlopen, al gebruikt of van een andere browser.",
    "Sign-in failed: the attempt had expired, was used before, or came from another browser.",
)
REFUSED: Kind = (
    400,
    "sign-in-refused",
    "De aanmelddienst heeft u niet aangemeld: u bent gestopt, of u heeft daar geen toegang.",
    "The sign-in service did not sign you in: you stopped, or you have no access there.",
)
INCOMPLETE: Kind = (
    400,
    "sign-in-incomplete",
    "De aanmelddienst kent u, maar zegt niet voor welke instantie u werkt of wat u mag.",
    "The sign-in service knows you, but does not say for which organisation you work or what you may do.",
)
MISMATCH: Kind = (
    400,
    "sign-in-misconfigured",
    "Aanmelden lukt niet: de instellingen van de balie en van de aanmelddienst passen niet bij elkaar.",
    "Sign-in does not work: the settings of the counter and of the sign-in service do not match.",
)
UNAVAILABLE: Kind = (
    503,
    "sign-in-unavailable",
    "Aanmelden kan even niet. Probeer het zo opnieuw.",
    "Sign-in is not available now. Try again in a moment.",
)


class SignInFailed(Problem):
    """Nobody is signed in. `kind`: what the clerk reads. The text is the reason, for the log."""

    def __init__(self, kind: Kind, reason: str, *, status: int | None = None) -> None:
        number, *texts = kind
        super().__init__(status or number, *texts)
        self.reason = reason

    def __str__(self) -> str:
        """Return the reason."""
        return self.reason


ASKS_A_PERSON = frozenset({"login_required", "interaction_required", "consent_required"})
UNKNOWN_CLIENT = frozenset({"invalid_client", "unauthorized_client", "unsupported_grant_type"})
"""Errors of the token endpoint that concern the client itself, not the code."""
# RFC 6749, sections 4.1.2.1 and 5.2; OpenID Connect Core 1.0, section 3.1.2.6.
_KINDS = {
    **dict.fromkeys(("invalid_grant", "mismatching_state"), LOST),
    **dict.fromkeys(("access_denied", "account_selection_required", *sorted(ASKS_A_PERSON)), REFUSED),
    **dict.fromkeys(("server_error", "temporarily_unavailable"), UNAVAILABLE),
}
# In a provider's own words may be an e-mail address, a name in quotes, a number, a date or a token.
_PERSONAL = re.compile(r"\S*@\S*|'[^']*'|\"[^\"]*\"|\d{1,4}[-/.]\d\d?[-/.]\d{1,4}|\d{8,}|\S{25,}")


def answered(error: object, description: object, secret: str | None = None) -> SignInFailed:
    """Return the failure for an error that the sign-in service answered; without personal data or secrets."""
    code, text = summary(str(error))[:60], summary(str(description or "no description"))
    if secret:
        text = text.replace(secret, "…")
    said = f"the sign-in service answered {_PERSONAL.sub('…', code)}: {_PERSONAL.sub('…', text)}"
    return SignInFailed(_KINDS.get(code, MISMATCH), said)


def failure_of(error: Exception, secret: str | None) -> SignInFailed:
    """Return the failure for any error of a sign-in."""
    match error:
        case SignInFailed():
            return error
        case httpx2.HTTPError():
            return SignInFailed(UNAVAILABLE, why_unreadable(error))
        case OAuthError():
            return answered(error.error, error.description, secret)
        case WrongClaim():
            return SignInFailed(INCOMPLETE, str(error))
        case ExpiredTokenError() | ClaimError(claim="nonce"):
            return SignInFailed(LOST, f"the ID token does not count: {refusal_of(error)}")
    return SignInFailed(MISMATCH, f"the ID token or a reply does not count: {refusal_of(error)}")


class App(StarletteOAuth2App):  # type: ignore[misc]
    """Authlib's sign-in over this client. A key that cannot be read spoils no other (RFC 7517, section 5)."""

    client_cls = BoundedClient

    async def fetch_jwk_set(self, force: bool = False) -> dict[str, Any]:
        """Return the keys for signatures that can be read. Raises what reading a set raises."""
        keys, _ignored = public_keys(await super().fetch_jwk_set(force=force))
        return {"keys": [key.as_dict(private=False) for key in keys.values()]}

    async def authorize_access_token(self, request: Request, **more: Any) -> Any:
        """Return the tokens. Raises SignInFailed for an error that the service sent back, in its words.

        RFC 6749 section 4.1.2.1: it repeats the state. Without it, anybody may have written the address.
        """
        error, state = (request.query_params.get(name) for name in ("error", "state"))
        if error is not None:
            if not await self.framework.get_state_data(request.session, state):
                raise SignInFailed(LOST, "an error came back to a browser that had begun no sign-in")
            await self.framework.clear_state_data(request.session, state)
            raise answered(error, request.query_params.get("error_description"), self.client_secret)
        return await super().authorize_access_token(request, **more)

    async def check_beginning(self, callback: str) -> None:
        """Ask as a browser that begins a sign-in. Raises SignInFailed if the service refuses the client."""
        begun = await self.create_authorization_url(callback)
        try:
            async with BoundedReplies(verify=self.client_kwargs["verify"]) as browser:
                answer = await browser.get(begun["url"])
        except httpx2.RequestError:
            return  # it is for browsers: perhaps only they can reach it
        if answer.status_code >= 400:
            advice = f"does it know the client {self.client_id}, with the redirect URI {callback}?"
            raise SignInFailed(MISMATCH, f"the sign-in service answered {answer.status_code}: {advice}")
        back = dict(parse_qsl(urlsplit(answer.headers.get("location", "")).query))
        if "error" in back and back["error"] not in ASKS_A_PERSON:
            raise answered(back["error"], back.get("error_description"), self.client_secret)


def client_of(issuer: str, client_id: str, client_secret: str | None) -> App:
    """Return the client of this sign-in service. It asks for nothing before the first sign-in."""
    client: App = OAuth().register(
        "staff",
        client_cls=App,
        client_id=client_id,
        client_secret=client_secret,
        client_auth_methods=[(BASIC, basic)],
        server_metadata_url=issuer.rstrip("/") + "/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid profile",
            "code_challenge_method": "S256",
            "timeout": limits.ISSUER,
            "verify": trusted_authorities(),
        },
    )
    return client


class MetadataJson(TokenMetadata):
    """What is needed of the metadata of a sign-in service (OpenID Connect Discovery 1.0, section 3)."""

    authorization_endpoint: Endpoint
    jwks_uri: Endpoint
    userinfo_endpoint: Endpoint | None = None
    end_session_endpoint: Endpoint | None = None
    id_token_signing_alg_values_supported: Sequence[str] = ("RS256",)
