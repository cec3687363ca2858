"""How patrons sign in at the demo of Wisecat+: OpenID Connect with code and PKCE, sessions, single logout.

Sources: OpenID Connect Core 1.0, RP-Initiated Logout 1.0, Back-Channel Logout 1.0.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from infra.local.configuration import CALLBACK, SIGNED_OUT
from shared.platform.http_client import HttpClient
from shared.web.id_tokens import Provider, logout_token
from shared.web.security import UNREADABLE, InvalidToken, KeysUnavailable, keys_of

FAILURES = (httpx2.HTTPError, OAuthError, JoseError, OSError, *UNREADABLE)
"""Whatever a sign-in raises: the patron begins again."""
MOST_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A patron who has just signed in. `nonce`: what this catalogue sent to the account provider."""

    id_token: str
    nonce: str
    subject: str
    name: str
    session_id: str | None


class PatronSignIn:
    """The client of the account provider. `address`: where browsers reach the catalogue."""

    def __init__(self, issuer: str, client_id: str, address: str, http: HttpClient) -> None:
        self.issuer = issuer
        self._client_id = client_id
        self._address = address.rstrip("/")
        self._provider = Provider(issuer, keys_of(issuer, None, http))
        self._client: StarletteOAuth2App = OAuth().register(
            "accounts",
            client_id=client_id,
            server_metadata_url=f"{issuer}/.well-known/openid-configuration",
            client_kwargs={"scope": "openid profile", "code_challenge_method": "S256"},
        )

    async def begin(self, request: Request) -> Response:
        """Send the browser to the account provider. Raises FAILURES."""
        nonce = request.session["nonce"] = secrets.token_urlsafe(24)
        callback = self._address + CALLBACK
        response: Response = await self._client.authorize_redirect(request, callback, nonce=nonce)
        response.status_code = HTTPStatus.SEE_OTHER
        return response

    async def finish(self, request: Request) -> SignedIn:
        """Return who came back: Authlib has checked state, PKCE and the ID token. Raises FAILURES."""
        token = await self._client.authorize_access_token(request)
        claims = token["userinfo"]
        name, session_id = claims.get("name", claims["sub"]), claims.get("sid")
        return SignedIn(token["id_token"], request.session.pop("nonce"), claims["sub"], name, session_id)

    async def end(self, request: Request) -> Response:
        """Send the browser to the account provider, to end its session too. Raises FAILURES.

        The client is named by its id, not by an ID token: addresses hold nothing personal.
        """
        response: Response = await self._client.logout_redirect(
            request, self._address + SIGNED_OUT, client_id=self._client_id
        )
        response.status_code = HTTPStatus.SEE_OTHER
        return response

    async def returned(self, request: Request) -> bool:
        """Return whether this is the way back from a sign-out that began here."""
        try:
            await self._client.validate_logout_response(request)
        except FAILURES:
            return False
        return True

    async def logged_out(self, request: Request, sessions: Sessions) -> Response:
        """End the sessions that a logout token names (Back-Channel Logout 1.0, sections 2.5 to 2.8)."""
        form = await request.form(max_fields=4)
        status = HTTPStatus.OK
        try:
            who = await logout_token(str(form.get("logout_token", "")), self._provider, self._client_id)
            sessions.end_of(who.subject, who.session_id)
        except InvalidToken:
            status = HTTPStatus.BAD_REQUEST
        except KeysUnavailable:
            status = HTTPStatus.SERVICE_UNAVAILABLE
        return Response(status_code=status, headers={"Cache-Control": "no-store"})


class Sessions:
    """The sessions of patrons, on the server: the cookie holds their id, so an end counts at once."""

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[SignedIn, Any]] = {}

    def begin(self, request: Request, who: SignedIn, shown: Any) -> None:
        """Begin a session with a new id; the earlier one of this browser ends. `shown`: for its pages."""
        self.end(request)
        if len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        request.session["id"] = session = secrets.token_urlsafe(32)
        self._sessions[session] = (who, shown)

    def of(self, request: Request) -> Any:
        """Return what `begin` was given to show; None without an open session."""
        return self._sessions.get(request.session.get("id", ""), (None, None))[1]

    def end(self, request: Request) -> bool:
        """End the session of this browser; return whether there was one."""
        return self._sessions.pop(request.session.pop("id", ""), None) is not None

    def end_of(self, subject: str | None, session_id: str | None) -> None:
        """End the sessions of a session at the account provider, or without one all of this person."""
        for name, (who, _) in list(self._sessions.items()):
            if who.session_id == session_id if session_id is not None else who.subject == subject:
                del self._sessions[name]
