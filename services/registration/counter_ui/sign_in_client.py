"""Authlib's client of a sign-in service, within our limits; and what goes wrong there, in our words."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

import httpx2
from authlib.common.urls import add_params_to_uri
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from authlib.oidc.core import CodeIDToken, UserInfo
from fastapi import Request
from joserfc.errors import ClaimError, ExpiredTokenError
from joserfc.jws import JWSRegistry
from pydantic import AfterValidator, BaseModel

from shared.kernel.text import require_identifier, summary
from shared.platform import limits
from shared.platform.http_client import BoundedReplies, trusted_authorities
from shared.web.issuer import WrongClaim, require_issuer, why_unreadable
from shared.web.oauth_client import BASIC, POST, PUBLIC, BoundedClient, Endpoint, TokenMetadata, basic
from shared.web.problems import Problem
from shared.web.security import (
    ALGORITHMS,
    LEEWAY_SECONDS,
    InvalidToken,
    JwksKeys,
    KeysUnavailable,
    Signed,
    header_of,
    refusal_of,
    signed_content,
)

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
MIXED_UP: Kind = (
    400,
    "sign-in-mixed-up",
    "Aanmelden is gestopt: het antwoord kwam van een andere aanmelddienst dan die van de balie.",
    "Sign-in was stopped: the reply came from another sign-in service than that of the counter.",
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


LONGEST_ID_TOKEN = 128_000
"""Characters. It comes from the service itself, and may hold thousands of groups."""
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
    kind, reason = MISMATCH, f"the ID token or a reply does not count: {refusal_of(error)}"
    match error:
        case SignInFailed():
            return error
        case OAuthError():
            return answered(error.error, error.description, secret)
        case httpx2.HTTPError():
            kind, reason = UNAVAILABLE, why_unreadable(error)
        case KeysUnavailable():
            kind, reason = UNAVAILABLE, str(error)
        case WrongClaim():
            kind, reason = INCOMPLETE, str(error)
        case InvalidToken():
            reason = f"a token of the sign-in service does not count: {error}"
        case ExpiredTokenError() | ClaimError(claim="nonce"):
            kind, reason = LOST, f"the ID token does not count: {refusal_of(error)}"
    return SignInFailed(kind, reason)


class App(StarletteOAuth2App):  # type: ignore[misc]
    """Authlib's sign-in over this client: with our keys, pushed requests and a check of who answers."""

    client_cls = BoundedClient
    keys: JwksKeys

    def new_keys(self) -> None:
        """Begin with no keys: the next sign-in reads them."""
        self.keys = JwksKeys(self._read_keys)

    async def _read_keys(self) -> dict[str, Any]:
        metadata = await self.load_server_metadata()
        async with self._get_session() as client:
            answer = await client.request("GET", metadata["jwks_uri"], withhold_token=True)
        answer.raise_for_status()
        return dict(answer.json())

    async def create_authorization_url(self, redirect_uri: str | None = None, **more: Any) -> dict[str, Any]:
        """Return the address for the browser, with state, nonce and verifier.

        What is asked goes to a sign-in service that takes it directly; the address holds no more than a
        reference to it then (RFC 9126). Raises SignInFailed, and what asking raises.
        """
        begun: dict[str, Any] = await super().create_authorization_url(redirect_uri, **more)
        metadata = await self.load_server_metadata()
        if endpoint := metadata.get("pushed_authorization_request_endpoint"):
            asked = dict(parse_qsl(urlsplit(begun["url"]).query))
            reference = [("client_id", self.client_id), ("request_uri", await self._push(endpoint, asked))]
            begun["url"] = add_params_to_uri(metadata["authorization_endpoint"], reference)
        elif metadata.get("require_pushed_authorization_requests"):
            raise SignInFailed(MISMATCH, "the sign-in service wants pushed requests, but names no address")
        return begun

    async def _push(self, endpoint: str, asked: dict[str, str]) -> str:
        async with self._get_oauth_client(**await self.load_server_metadata()) as client:
            method = client.token_endpoint_auth_method
            if method in {POST, PUBLIC}:
                asked = {name: value for name, value in asked.items() if name != "client_id"}
            answer = await client.request("POST", endpoint, data=asked, auth=client.client_auth(method))
        if answer.status_code not in {HTTPStatus.OK, HTTPStatus.CREATED}:
            _raise_refusal(answer, self.client_secret)
        return PushedJson.model_validate(answer.json()).request_uri

    async def authorize_access_token(self, request: Request, **more: Any) -> Any:
        """Return the tokens. Raises SignInFailed for an error that the service sent back, in its words.

        RFC 6749 section 4.1.2.1: it repeats the state. Without it, anybody may have written the address. RFC
        9207: it says who it is, so that an answer of another service is not taken for one of this.
        """
        error, state = (request.query_params.get(name) for name in ("error", "state"))
        if await self.framework.get_state_data(request.session, state):
            if wrong := await self._wrong_issuer(request.query_params.getlist("iss")):
                await self.framework.clear_state_data(request.session, state)
                raise SignInFailed(MIXED_UP, wrong)
        elif error is not None:
            raise SignInFailed(LOST, "an error came back to a browser that had begun no sign-in")
        if error is not None:
            await self.framework.clear_state_data(request.session, state)
            raise answered(error, request.query_params.get("error_description"), self.client_secret)
        return await super().authorize_access_token(request, **more)

    async def _wrong_issuer(self, named: Sequence[str]) -> str | None:
        """Return what is wrong with who an answer says it comes from; None if nothing is (RFC 9207)."""
        metadata = await self.load_server_metadata()
        if not named and metadata.get("authorization_response_iss_parameter_supported") is True:
            return "the answer does not say which sign-in service it is of (iss), which this one always says"
        if named and list(named) != [metadata["issuer"]]:
            return f"the answer says that it is of {summary(' and '.join(named))[:200]}"
        return None

    async def parse_id_token(
        self,
        token: Mapping[str, Any],
        nonce: str,
        claims_options: dict[str, Any] | None = None,
        claims_cls: type[CodeIDToken] | None = None,
        leeway: int = LEEWAY_SECONDS,
    ) -> UserInfo:
        """Return the claims of the ID token. Raises InvalidToken, JoseError, KeysUnavailable."""
        metadata = await self.load_server_metadata()
        signed = await self._signed(token["id_token"], metadata["id_token_signing_alg_values_supported"])
        expected = {"nonce": nonce, "client_id": self.client_id, "access_token": token["access_token"]}
        claims = (claims_cls or CodeIDToken)(signed.claims, signed.header, claims_options, expected)
        claims.validate(leeway=leeway)
        return UserInfo(claims)

    async def userinfo(self, **more: Any) -> UserInfo:
        """Return what the service says of a person at its userinfo endpoint; a signed answer is verified.

        OpenID Connect Core 1.0, section 5.3. Raises as `parse_id_token`, and what asking raises.
        """
        metadata = await self.load_server_metadata()
        answer = await self.get(metadata["userinfo_endpoint"], **more)
        answer.raise_for_status()
        if _media_type(answer) != "application/jwt":
            return UserInfo(**answer.json())
        text = answer.content.decode("ascii").strip()
        if text.count(".") != 2:
            raise SignInFailed(MISMATCH, "the userinfo endpoint answers encrypted: only signed is understood")
        offered = metadata.get("userinfo_signing_alg_values_supported") or ALGORITHMS
        claims = (await self._signed(text, offered)).claims
        require_issuer(claims.get("iss", metadata["issuer"]), metadata["issuer"])
        audience = claims.get("aud", self.client_id)
        if self.client_id not in (audience if isinstance(audience, list) else [audience]):
            raise InvalidToken("the signed answer of the userinfo endpoint is for another client")
        return UserInfo(claims)

    async def _signed(self, token: object, offered: Sequence[str]) -> Signed:
        if not isinstance(token, str):
            raise InvalidToken("it is no text")
        if header_of(token, LONGEST_ID_TOKEN)["alg"] not in offered:
            raise InvalidToken("its algorithm is none of those that the sign-in service offers")
        # Sign-in services put fields of their own into the header.
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        return await signed_content(token, self.keys, registry)

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


def _media_type(answer: httpx2.Response) -> str:
    return str(answer.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _raise_refusal(answer: httpx2.Response, secret: str | None) -> NoReturn:
    """Raise why a pushed request was refused (RFC 9126, section 2.3)."""
    if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR and _media_type(answer) == "application/json":
        said = answer.json()
        if isinstance(said, dict) and "error" in said:
            raise answered(said["error"], said.get("error_description"), secret)
    answer.raise_for_status()
    raise SignInFailed(MISMATCH, f"the sign-in service answered {answer.status_code} to a pushed request")


class PushedJson(BaseModel):
    """The answer to a pushed request (RFC 9126, section 2.2)."""

    request_uri: Annotated[str, AfterValidator(require_identifier)]


def client_of(issuer: str, client_id: str, client_secret: str | None, scope: str) -> App:
    """Return the client of this sign-in service. It asks for nothing before the first sign-in."""
    client: App = OAuth().register(
        "staff",
        client_cls=App,
        client_id=client_id,
        client_secret=client_secret,
        client_auth_methods=[(BASIC, basic)],
        server_metadata_url=issuer.rstrip("/") + "/.well-known/openid-configuration",
        client_kwargs={
            "scope": scope,
            "code_challenge_method": "S256",
            "leeway": 0,  # a token is used once, at once: one that lives for a minute is no expired one
            "timeout": limits.ISSUER,
            "verify": trusted_authorities(),
        },
    )
    client.new_keys()
    return client


class MetadataJson(TokenMetadata):
    """What is needed of the metadata of a sign-in service (OpenID Connect Discovery 1.0, section 3)."""

    authorization_endpoint: Endpoint
    jwks_uri: Endpoint
    userinfo_endpoint: Endpoint | None = None
    end_session_endpoint: Endpoint | None = None
    pushed_authorization_request_endpoint: Endpoint | None = None
    id_token_signing_alg_values_supported: Sequence[str] = ("RS256",)
    userinfo_signing_alg_values_supported: Sequence[str] = ()
