"""Who is signed in at this browser: OpenID Connect sign-in, and the session in a signed cookie."""

import hmac
import re
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
from authlib.deprecate import AuthlibDeprecationWarning
from authlib.integrations.base_client.errors import OAuthError
from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse
from joserfc.errors import JoseError
from starlette.requests import HTTPConnection

from registration.api.dependencies import Clerk
from registration.application.dependencies import Dependencies, Organisation
from shared.event_log import Metadata
from shared.web.problems import Problem, correlation_id
from shared.web.security import ALGORITHMS

WORKING_DAY = timedelta(hours=10)
# A path on this very server: `//elsewhere` and `/\elsewhere` are others' addresses to a browser, which drops
# tabs and line ends before it looks.
_OWN_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f]*")
_LONGEST_PATH = 500


class SignInNeeded(Exception):
    """You are not signed in, or no longer: sign in again."""


@dataclass(frozen=True, slots=True)
class Staff:
    """Somebody of a guest library who is signed in. `branch`: where they sit now; empty without any."""

    subject: str
    name: str
    organisation: str
    scopes: frozenset[str]
    branch: str


def sign_in(session: dict[str, Any], claims: Mapping[str, Any], now: datetime) -> None:
    """Begin the session of a staff member. Whatever the browser had before is gone, a token for forms too."""
    language = session.get("language")
    session.clear()
    if language:
        session["language"] = language
    session["staff"] = {name: claims[name] for name in ("sub", "name", "organisation", "scope")}
    session["ends_at"] = (now + WORKING_DAY).timestamp()


def staff_of(request: HTTPConnection) -> Staff | None:
    """Who is signed in; None when nobody is, or when the working day is over."""
    session, deps = request.session, _registration_of(request)
    known, ends_at = session.get("staff"), session.get("ends_at", 0)
    if not known or deps.clock.now().timestamp() >= ends_at:
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


def _registration_of(request: HTTPConnection) -> Dependencies:
    found: Dependencies = request.app.state.deps
    return found


def csrf_token(request: HTTPConnection) -> str:
    """The token that every form of this session carries."""
    if not request.session.get("csrf"):
        request.session["csrf"] = secrets.token_urlsafe(32)
    return str(request.session["csrf"])


async def check_csrf(request: Request) -> None:
    """A dependency of all pages: a form that this session did not get from us changes nothing."""
    if request.method in {"GET", "HEAD"}:
        return
    expected, sent = request.session.get("csrf", ""), (await request.form()).get("csrf_token", "")
    if not expected or not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise Problem(
            403,
            "form-not-ours",
            "Dit formulier is verlopen of niet van deze pagina. Er is niets opgeslagen.",
            "This form has expired, or is not from this page. Nothing was saved.",
        )


def own_path(wanted: str | None) -> str:
    """Where to go next: only ever a path of this server; else the scan page."""
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
    """A dependency of the operators' pages."""
    needs(staff, "operator")
    return staff


def needs(staff: Staff, scope: str) -> None:
    """Raises Problem (403) without this scope."""
    if scope not in staff.scopes:
        raise Problem(
            403,
            "wrong-scope",
            "U heeft geen toegang tot deze functie. Een beheerder van uw instantie kan die geven.",
            "You have no access to this. An administrator of your organisation can give it.",
        )


CounterClerkDep = Annotated[Clerk, Depends(_counter_clerk)]
OperatorStaffDep = Annotated[Staff, Depends(operator_staff)]

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
