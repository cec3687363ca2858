"""Sign-in of staff at the sign-in service: OpenID Connect."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from joserfc.errors import JoseError

from registration.counter_ui.sign_in_client import (
    MISMATCH,
    UNAVAILABLE,
    UNKNOWN_CLIENT,
    MetadataJson,
    SignInFailed,
    client_of,
    failure_of,
)
from shared.kernel.text import tidy
from shared.platform.settings import require_tls
from shared.web.id_tokens import LoggedOut, Provider, logout_token
from shared.web.issuer import ClaimNames, WrongClaim, WrongIssuer, require_issuer, why_unreadable, wrong_type
from shared.web.oauth_client import ClientProof
from shared.web.security import (
    ALGORITHMS,
    INSTALLATION,
    LEEWAY_SECONDS,
    UNREADABLE,
    InvalidToken,
    KeysUnavailable,
    claim_of,
    organisations_of,
    scopes_of,
    subject_of,
)

_LONGEST_NAME = 200
_PAGE_SCOPES = frozenset({"counter", "operator", "accounts", INSTALLATION})
CALLBACK, SIGNED_OUT, ENDED_ELSEWHERE = "/aanmelden/terug", "/afmelden", "/aanmelden/einde"


class InsecureAddress(ValueError):
    """Sign-in over http:// is allowed on this machine only: use an https:// address."""


class SignIn:
    """The client of the sign-in service. `address`: the URL at which browsers reach the counter.

    `names`: where in a token is what; `name_claim`: where the name of a person is; `scope`: what a sign-in
    asks for. Raises InsecureAddress.
    """

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        address: str,
        names: ClaimNames = ClaimNames(),  # noqa: B008 - it is frozen
        name_claim: str = "name",
        scope: str = "openid profile",
    ) -> None:
        for url in (issuer, address):
            try:
                require_tls(url)
            except ValueError as error:
                raise InsecureAddress(f"{url}: {error}") from None
        self._issuer, self._client_id, self._secret = issuer, client_id, client_secret
        self._names, self._name_claim = names, name_claim
        self._address = address.rstrip("/")
        self._callback = self._address + CALLBACK
        self.is_secure = urlsplit(address).scheme == "https"
        self._client = client_of(issuer, client_id, client_secret, scope)

    async def ready(self) -> None:
        """Do all of a sign-in that needs no person: discovery, keys, its beginning, the client's secret.

        Raises SignInFailed, whose text says what to do.
        """
        await self._metadata()
        try:
            await self._client.keys.ready()
            await self._client.check_beginning(self._callback)
            await self._client.fetch_access_token(self._callback, code="none", code_verifier="-" * 43)
        except OAuthError as error:
            # A code that was never given is refused; only then is it certain that the client was not.
            if error.error in UNKNOWN_CLIENT:
                raise failure_of(error, self._secret) from error
        except (httpx2.HTTPError, JoseError, KeysUnavailable, *UNREADABLE) as error:
            raise failure_of(error, self._secret) from error

    async def begin(self, request: Request) -> Response:
        """Send the browser to the sign-in service. State, nonce and verifier stay in the session.

        After a sign-out the service must ask who it is, also when its own session goes on. On this machine
        the counter has several host names, such as localhost, but a cookie belongs to one: the browser is
        first sent to the host name of `address`.
        """
        if not self.is_secure and request.headers.get("host") != urlsplit(self._callback).netloc:
            return RedirectResponse(f"{self._address}/aanmelden", 303)
        await self._metadata()
        asked = {"prompt": "login"} if request.session.get("ask_who") else {}
        try:
            response: Response = await self._client.authorize_redirect(request, self._callback, **asked)
        except (httpx2.HTTPError, OAuthError, SignInFailed, *UNREADABLE) as error:
            self._client.server_metadata.clear()
            raise failure_of(error, self._secret) from error
        return response

    async def finish(self, request: Request) -> dict[str, Any]:
        """Return the claims of the staff member who signed in. Raises SignInFailed."""
        metadata = await self._metadata()
        try:
            token = await self._client.authorize_access_token(
                request,
                leeway=LEEWAY_SECONDS,
                claims_options={"aud": {"essential": True, "value": self._client_id}},
            )
            if "userinfo" not in token:
                raise SignInFailed(MISMATCH, "the reply holds no id_token: may the client ask for openid?")
            claims = dict(token["userinfo"])
            require_issuer(claims.get("iss"), self._issuer)
            # What the service calls the person and its session: it may end them (`logged_out`).
            session_id = claims.get("sid")
            elsewhere = (str(claims["sub"]), session_id if isinstance(session_id, str) else None)
            return {**await self._staff_of(claims, token, metadata), "elsewhere": elsewhere}
        except KeysUnavailable as error:
            self._client.new_keys()  # the next sign-in reads them again
            raise failure_of(error, self._secret) from error
        except (httpx2.HTTPError, OAuthError, JoseError, InvalidToken, SignInFailed, *UNREADABLE) as error:
            raise failure_of(error, self._secret) from error

    async def _staff_of(
        self, claims: Mapping[str, Any], token: Mapping[str, Any], metadata: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return who it is by the ID token, or by more that the userinfo endpoint says."""
        try:
            return self._staff(claims)
        except WrongClaim:
            if not metadata.get("userinfo_endpoint"):
                raise
        more = dict(await self._client.userinfo(token=token))
        if more.get("sub") != claims["sub"]:
            raise SignInFailed(MISMATCH, "the userinfo endpoint answered about another sub")
        return self._staff({**more, **claims})

    async def logged_out(self, token: str) -> LoggedOut:
        """Return who logged out at the sign-in service, by its logout token.

        OpenID Connect Back-Channel Logout 1.0, section 2.6. Raises InvalidToken or KeysUnavailable.
        """
        return await logout_token(token, Provider(self._issuer, self._client.keys), self._client_id)

    def _staff(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """Return who it is, for the session. Raises WrongClaim."""
        names = self._names
        organisations, given = organisations_of(claims, names), scopes_of(claims, names)
        if not organisations:
            raise names.missing(names.organisation)
        if not given:
            raise names.missing(names.scope)
        # Only what the pages know: a cookie holds them.
        if not (scopes := given & _PAGE_SCOPES):
            raise WrongClaim(f"the claim {names.scope} gives none of {', '.join(sorted(_PAGE_SCOPES))}")
        if len(organisations) > 1:
            raise WrongClaim(f"{len(organisations)} organisations: staff of the counter work for exactly one")
        return {
            "sub": subject_of(claims, names),
            "name": _name_of(claims, self._name_claim),
            "organisation": next(iter(organisations)),
            "scope": " ".join(sorted(scopes)),
        }

    async def end(self) -> str | None:
        """Return where a browser ends the service's own session; None if the service has no such page.

        OpenID Connect RP-Initiated Logout 1.0, section 2. The client is named by its id: no ID token is kept.
        """
        try:
            metadata = await self._metadata()
        except SignInFailed:
            return None
        if not metadata.get("end_session_endpoint"):
            return None
        ending = await self._client.create_logout_url(self._address + SIGNED_OUT, client_id=self._client_id)
        return str(ending["url"])

    async def _metadata(self) -> dict[str, Any]:
        """Return the service's metadata, with only public-key signatures left in its list of algorithms.

        Raises SignInFailed.
        """
        try:
            metadata: dict[str, Any] = await self._client.load_server_metadata()
            require_issuer(metadata.get("issuer"), self._issuer)
            read = MetadataJson.model_validate(metadata)
        except WrongIssuer as error:
            self._client.server_metadata.clear()
            raise SignInFailed(MISMATCH, str(error), status=503) from error
        except (httpx2.HTTPError, *UNREADABLE) as error:
            self._client.server_metadata.clear()
            raise SignInFailed(UNAVAILABLE, why_unreadable(error)) from error
        self._client.client_kwargs["token_endpoint_auth_method"] = ClientProof(
            self._client_id, self._secret
        ).method(read)
        offered = read.id_token_signing_alg_values_supported
        metadata["id_token_signing_alg_values_supported"] = [name for name in offered if name in ALGORITHMS]
        return metadata


def _name_of(claims: Mapping[str, Any], claim: str) -> str:
    """Return the name to show. Raises WrongClaim, also when nothing of it can be seen."""
    name = claim_of(claims, claim)
    if not isinstance(name, str):
        raise wrong_type(claim, "a text", name)
    if not (shown := tidy(name).strip()[:_LONGEST_NAME]):
        raise WrongClaim(f"the claim {claim} is empty")
    return shown
