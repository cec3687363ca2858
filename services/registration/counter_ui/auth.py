"""Sign-in of staff: OpenID Connect, sessions and their signed cookie, and the check of forms (CSRF)."""

import hmac
import re
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
from authlib.deprecate import AuthlibDeprecationWarning
from authlib.integrations.base_client.errors import OAuthError
from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse
from joserfc.errors import JoseError
from pydantic import AfterValidator, BaseModel
from starlette.requests import HTTPConnection

from registration.adapters.staff_sessions import StaffSessions
from registration.api.dependencies import Clerk, RecordedDirectory, recorded_directory
from registration.application.dependencies import Dependencies, Organisation
from shared.event_log import Metadata
from shared.kernel.text import is_identifier, tidy
from shared.platform import limits
from shared.platform.http_client import BoundedReplies
from shared.platform.settings import require_tls
from shared.web.problems import Problem, correlation_id
from shared.web.security import ALGORITHMS, INSTALLATION, LEEWAY_SECONDS, UNREADABLE

LONGEST_PAUSE = timedelta(minutes=60)
"""A session that was not used for so long is over."""
_MARK_USE_EVERY = timedelta(minutes=1)
# A path on this server. Browsers read `//elsewhere` and `/\elsewhere` as addresses of other servers, and drop
# tabs and line ends before they look.
_OWN_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f]*")
_LONGEST_PATH = 500
_READS = frozenset({"GET", "HEAD"})


class SignInNeeded(Exception):
    """You are not signed in. Sign in again."""


@dataclass(frozen=True, slots=True)
class Staff:
    """A signed-in staff member of a guest library. `branch`: where they work now; empty if there is none."""

    subject: str
    name: str
    organisation: str
    scopes: frozenset[str]
    branch: str


async def sign_in(request: Request, claims: Mapping[str, Any]) -> None:
    """Begin a session of a staff member, with a new id. The earlier session of this browser ends."""
    await sign_out(request)
    session = request.session
    session["id"] = await _sessions_of(request).begin(claims["sub"], claims["organisation"])
    session["staff"] = {name: claims[name] for name in ("sub", "name", "organisation", "scope")}
    session["used_at"] = _deps_of(request).clock.now().timestamp()


async def sign_out(request: Request, *, everywhere: bool = False) -> None:
    """End this session, or `everywhere` all sessions of this staff member. Only the language stays."""
    session, sessions = request.session, _sessions_of(request)
    if everywhere and (staff := staff_of(request)):
        await sessions.end_all(staff.subject)
    if session_id := session.get("id"):
        await sessions.end(session_id)
    language = session.get("language")
    session.clear()
    if language:
        session["language"] = language


async def check_session(request: Request) -> None:
    """Find out whether the session of this request is open; `staff_of` knows nobody before this.

    It is over when its row is gone, or after LONGEST_PAUSE. Then all of it in the cookie is dropped, also its
    CSRF token and a sign-in that was begun. Raises SignInNeeded for a form of a session that is over.
    """
    session = request.session
    if "staff" not in session:
        return
    now = _deps_of(request).clock.now().timestamp()
    pause = timedelta(seconds=now - session.get("used_at", 0))
    if pause < LONGEST_PAUSE and await _sessions_of(request).is_open(session.get("id", "")):
        request.state.session_is_open = True
        if pause >= _MARK_USE_EVERY:
            session["used_at"] = now  # in the cookie: a row would cost a write per page
        return
    await sign_out(request)
    if request.method not in _READS:
        raise SignInNeeded


def staff_of(request: HTTPConnection) -> Staff | None:
    """Return the signed-in staff member; None without a session that `check_session` found open."""
    session, deps = request.session, _deps_of(request)
    known = session.get("staff")
    if not known or not getattr(request.state, "session_is_open", False):
        return None
    organisation = deps.organisations.get(known["organisation"])
    return Staff(
        subject=known["sub"],
        name=known["name"],
        organisation=known["organisation"],
        scopes=frozenset(known["scope"].split()),
        branch=_branch(organisation, session.get("branch")),
    )


def _branch(organisation: Organisation | None, chosen: str | None) -> str:
    branches = organisation.branches if organisation else {}
    return chosen if chosen and chosen in branches else next(iter(branches), "")


def _deps_of(request: HTTPConnection) -> Dependencies:
    found: Dependencies = request.app.state.deps
    return found


def _sessions_of(request: Request) -> StaffSessions:
    found: StaffSessions = request.app.state.staff_sessions
    return found


def csrf_token(request: HTTPConnection) -> str:
    """Return the CSRF token that every form of this session carries; create it if there is none."""
    if not request.session.get("csrf"):
        request.session["csrf"] = secrets.token_urlsafe(32)
    return str(request.session["csrf"])


async def check_csrf(request: Request) -> None:
    """Refuse a form without this session's CSRF token. Raises Problem (403). All pages depend on it."""
    if request.method in _READS:
        return
    expected, sent = request.session.get("csrf", ""), (await request.form()).get("csrf_token", "")
    if not expected or not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise Problem(
            403,
            "form-not-ours",
            "Dit formulier is verlopen of komt niet van deze pagina. Er is niets opgeslagen.",
            "This form has expired or does not come from this page. Nothing was saved.",
        )


def own_path(wanted: str | None) -> str:
    """Return `wanted` if it is a path of this server, else `/`: no redirect leads to another server."""
    if wanted and len(wanted) <= _LONGEST_PATH and _OWN_PATH.fullmatch(wanted):
        return wanted
    return "/"


async def _staff(request: Request) -> Staff:
    staff = staff_of(request)
    if staff is None:
        raise SignInNeeded
    return staff


StaffDep = Annotated[Staff, Depends(_staff)]


async def _counter_clerk(request: Request, staff: StaffDep) -> Clerk:
    needs(staff, "counter")
    return Clerk(staff.organisation, Metadata(staff.subject, correlation_id(request)))


async def operator_staff(staff: StaffDep) -> Staff:
    """Return the staff member if they are an operator. Raises Problem (403)."""
    needs(staff, "operator")
    return staff


async def installation_staff(staff: StaffDep) -> None:
    """Require an operator of the whole installation. Raises Problem (403)."""
    needs(staff, INSTALLATION)


def needs(staff: Staff, scope: str) -> None:
    """Require this scope. Raises Problem (403)."""
    if scope not in staff.scopes:
        raise Problem(
            403,
            "wrong-scope",
            "U heeft geen toegang tot deze functie. Een beheerder van uw instantie kan u toegang geven.",
            "You have no access to this function. An administrator of your organisation can give you access.",
        )


CounterClerkDep = Annotated[Clerk, Depends(_counter_clerk)]


async def _directory(request: Request, clerk: CounterClerkDep) -> RecordedDirectory:
    return recorded_directory(request, clerk)


CounterDirectoryDep = Annotated[RecordedDirectory, Depends(_directory)]
OperatorStaffDep = Annotated[Staff, Depends(operator_staff)]

with warnings.catch_warnings():
    # Authlib recommends the successor of httpx; both services use httpx.
    warnings.simplefilter("ignore", AuthlibDeprecationWarning)
    from authlib.integrations.httpx_client import AsyncOAuth2Client
    from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App

CALLBACK = "/aanmelden/terug"
_LONGEST_NAME = 200
_WANTED = ("sub", "name", "organisation", "scope")


class InsecureAddress(ValueError):
    """Sign-in over http:// is allowed on this machine only: use an https:// address."""


class SignInFailed(Exception):
    """The response of the sign-in service is not valid. Sign in again."""


class _BoundedClient(BoundedReplies, AsyncOAuth2Client):  # type: ignore[misc] # Authlib has no types
    """Authlib's client, with limits on what it reads."""


class _App(StarletteOAuth2App):  # type: ignore[misc]
    client_cls = _BoundedClient


Endpoint = Annotated[str, AfterValidator(require_tls)]


class _MetadataJson(BaseModel):
    """What is needed of the metadata of a sign-in service (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: Endpoint
    token_endpoint: Endpoint
    jwks_uri: Endpoint
    userinfo_endpoint: Endpoint | None = None
    id_token_signing_alg_values_supported: list[str] = ["RS256"]


class SignIn:
    """The client of the sign-in service. `address`: the URL at which browsers reach the counter.

    Raises InsecureAddress.
    """

    def __init__(self, *, issuer: str, client_id: str, client_secret: str | None, address: str) -> None:
        for url in (issuer, address):
            try:
                require_tls(url)
            except ValueError as error:
                raise InsecureAddress(f"{url}: {error}") from None
        self._issuer = issuer
        self._client_id = client_id
        self._callback = address.rstrip("/") + CALLBACK
        self.is_secure = urlsplit(address).scheme == "https"
        self._client = OAuth().register(
            "staff",
            client_cls=_App,
            client_id=client_id,
            client_secret=client_secret,
            server_metadata_url=issuer.rstrip("/") + "/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile",
                "code_challenge_method": "S256",
                "timeout": limits.ISSUER,
                "verify": httpx.create_ssl_context(),  # created once: it is slower than a whole sign-in
                "token_endpoint_auth_method": "client_secret_basic" if client_secret else "none",
            },
        )

    async def ready(self) -> None:
        """Check the sign-in service. Raises Problem (503) if it does not answer or its issuer differs."""
        await self._metadata()

    async def begin(self, request: Request) -> Response:
        """Send the browser to the sign-in service. State, nonce and verifier stay in the session.

        On this machine the counter has several host names, such as localhost, but a cookie belongs to one:
        the browser is first sent to the host name of `address`.
        """
        if not self.is_secure and request.headers.get("host") != urlsplit(self._callback).netloc:
            return RedirectResponse(self._callback.removesuffix(CALLBACK) + "/aanmelden", 303)
        await self._metadata()
        response: Response = await self._client.authorize_redirect(request, self._callback)
        return response

    async def finish(self, request: Request) -> dict[str, str]:
        """Return the claims of the staff member who signed in.

        Raises SignInFailed when the response is not valid, Problem (503) when the service does not answer.
        """
        metadata = await self._metadata()
        try:
            token = await self._client.authorize_access_token(
                request,
                leeway=LEEWAY_SECONDS,
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
        except (OAuthError, JoseError, *UNREADABLE) as error:
            # Perhaps it is the keys that cannot be read: the next sign-in reads them again.
            self._client.server_metadata.pop("jwks", None)
            raise SignInFailed from error
        if not _complete(claims):
            raise SignInFailed
        return {name: claims[name] for name in _WANTED} | {
            "name": tidy(claims["name"]).strip()[:_LONGEST_NAME]
        }

    async def _metadata(self) -> dict[str, Any]:
        """Return the service's metadata, with only public-key signatures left in its list of algorithms."""
        try:
            metadata: dict[str, Any] = await self._client.load_server_metadata()
            read = _MetadataJson.model_validate(metadata)
        except (httpx.HTTPError, *UNREADABLE) as error:
            self._client.server_metadata.clear()
            raise _unavailable() from error
        if read.issuer != self._issuer:
            self._client.server_metadata.clear()
            raise _unavailable()
        offered = read.id_token_signing_alg_values_supported
        metadata["id_token_signing_alg_values_supported"] = [name for name in offered if name in ALGORITHMS]
        return metadata


def _complete(claims: dict[str, Any]) -> bool:
    if not all(isinstance(claims.get(name), str) and tidy(claims[name]).strip() for name in _WANTED):
        return False
    return all(is_identifier(claims[name]) for name in ("sub", "organisation"))


def _unavailable() -> Problem:
    return Problem(
        503,
        "sign-in-unavailable",
        "Aanmelden kan even niet. Probeer het zo opnieuw.",
        "Sign-in is not available now. Try again in a moment.",
    )
