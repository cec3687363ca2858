"""Sign-in of staff: OpenID Connect, sessions and their signed cookie, and the check of forms (CSRF)."""

import hmac
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse
from joserfc.errors import JoseError
from starlette.requests import HTTPConnection

from registration.adapters.staff_sessions import DRAFT_LIFETIME, FormDrafts, Notice, StaffSessions
from registration.api.dependencies import Clerk, RecordedDirectory, recorded_directory
from registration.application.dependencies import Dependencies, Organisation
from registration.counter_ui.sign_in_client import (
    MISMATCH,
    UNAVAILABLE,
    UNKNOWN_CLIENT,
    MetadataJson,
    SignInFailed,
    client_of,
    failure_of,
)
from shared.event_log import Metadata
from shared.kernel.text import tidy
from shared.platform.settings import require_tls
from shared.web.issuer import ClaimNames, WrongClaim, WrongIssuer, require_issuer, why_unreadable, wrong_type
from shared.web.oauth_client import ClientProof
from shared.web.problems import Problem, correlation_id
from shared.web.security import (
    ALGORITHMS,
    INSTALLATION,
    LEEWAY_SECONDS,
    UNREADABLE,
    claim_of,
    organisations_of,
    scopes_of,
    subject_of,
)

LONGEST_PAUSE = timedelta(minutes=60)
"""A session that was not used for so long is over."""
_MARK_USE_EVERY = timedelta(minutes=1)
# A path on this server. Browsers read `//elsewhere` and `/\elsewhere` as addresses of other servers, and drop
# tabs and line ends before they look.
_OWN_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\\x7f]*")
_LONGEST_PATH = 1000
FORM_NOT_OURS = "form-not-ours"
_READS = frozenset({"GET", "HEAD"})
_STREAM = "text/event-stream"
"""What a page asks for by itself. That is no use: a page that is left open would keep its session open."""


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
    """Begin a session of a staff member, with a new id. The earlier session of this browser ends.

    Who signs in again goes on with what they were filling in; what another person was filling in is gone.
    """
    session = request.session
    lapsed = session.get("lapsed", {})
    before = session.get("staff", {}).get("sub") or next(iter(lapsed.get("owner", ())), "")
    former = session.get("id") or lapsed.get("id", "")
    if is_same := before == claims["sub"]:
        await _sessions_of(request).end(former)
        _clear(session)
    else:
        await sign_out(request)
    session.pop("ask_who", None)
    session["id"] = await _sessions_of(request).begin(claims["sub"], claims["name"], claims["organisation"])
    if is_same:
        await drafts_of(request).move(former, session["id"])
    session["staff"] = {name: claims[name] for name in ("sub", "name", "organisation", "scope")}
    session["used_at"] = _deps_of(request).clock.now().timestamp()
    session["hints_off"] = await _sessions_of(request).hints_off(claims["sub"])


async def hide_hint(request: Request, staff: Staff, hint: str) -> None:
    """Switch a hint off for this staff member, now and at every later sign-in."""
    await _sessions_of(request).hide_hint(staff.subject, hint)
    request.session["hints_off"] = await _sessions_of(request).hints_off(staff.subject)


async def show_hints(request: Request, staff: Staff) -> None:
    """Show this staff member all hints again."""
    await _sessions_of(request).show_hints(staff.subject)
    request.session["hints_off"] = []


async def sign_out(request: Request, *, everywhere: bool = False) -> None:
    """End this session, or `everywhere` all sessions of this staff member, with what was being filled in."""
    session, sessions = request.session, _sessions_of(request)
    if everywhere and (staff := staff_of(request)):
        await sessions.end_all(staff.subject)
    if session_id := session.get("id") or session.get("lapsed", {}).get("id"):
        await sessions.end(session_id)
        await drafts_of(request).forget_all(session_id)
    _clear(session)


def _clear(session: dict[str, Any]) -> None:
    """Keep only the language, and that the next person must be asked who they are."""
    kept = {name: session[name] for name in ("language", "ask_who") if session.get(name)}
    if "staff" in session:
        kept["ask_who"] = True
    session.clear()
    session.update(kept)


async def check_session(request: Request) -> None:
    """Find out whether the session of this request is open; `staff_of` knows nobody before this.

    It is over when its row is gone, or after LONGEST_PAUSE. Then all of it in the cookie is dropped, also a
    sign-in that was begun. Of a session that nobody ended, who it was stays known (`lapsed_of`), so that what
    they were filling in can be kept. Raises SignInNeeded for a form of a session that is over.
    """
    session = request.session
    if "staff" not in session:
        return
    now = _deps_of(request).clock.now().timestamp()
    pause = timedelta(seconds=now - session.get("used_at", 0))
    notices = await _sessions_of(request).notices_of(session.get("id", "")) if pause < LONGEST_PAUSE else None
    if notices is not None:
        request.state.session_is_open = True
        request.state.notices = notices
        if pause >= _MARK_USE_EVERY and request.headers.get("accept") != _STREAM:
            session["used_at"] = now  # in the cookie: a row would cost a write per page
        return
    await _lapse(request, now)
    if request.method not in _READS:
        raise SignInNeeded


async def _lapse(request: Request, now: float) -> None:
    session, sessions = request.session, _sessions_of(request)
    lapsed = {name: session.get(name, "") for name in ("id", "csrf")} | {
        "owner": [session["staff"]["sub"], session["staff"]["organisation"]],
        "until": now + DRAFT_LIFETIME.total_seconds(),
    }
    by_itself = await sessions.is_known(lapsed["id"])
    await sessions.end(lapsed["id"])
    _clear(session)
    if by_itself:
        session["lapsed"] = lapsed


@dataclass(frozen=True, slots=True)
class FormOwner:
    """Whose form it is. `who`: subject and organisation."""

    who: tuple[str, str]
    session_id: str


def owner_of(request: Request) -> FormOwner | None:
    """Return whose forms this session may show and keep; None if nobody is signed in."""
    staff = staff_of(request)
    if staff is None:
        return None
    return FormOwner((staff.subject, staff.organisation), request.session["id"])


async def owner_of_lost_form(request: Request) -> FormOwner | None:
    """Return whose form this is, although it cannot be carried out: the session lapsed, or its token is old.

    A lapsed session is known by its own CSRF token. An old token of an open session may be anybody's: then
    the browser has to say that the form comes from a page of this site.
    """
    lapsed = request.session.get("lapsed")
    if lapsed and lapsed["until"] > _deps_of(request).clock.now().timestamp():
        if _same(lapsed["csrf"], (await request.form()).get("csrf_token", "")):
            return FormOwner((lapsed["owner"][0], lapsed["owner"][1]), lapsed["id"])
        return None
    headers = request.headers
    origin = urlsplit(headers.get("origin", ""))
    ours = headers.get("sec-fetch-site") == "same-origin" or origin.netloc == headers.get("host", "-")
    return owner_of(request) if ours else None


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


async def keep_notices(request: Request, notices: Sequence[Notice]) -> None:
    """Keep what the session's next page says; without a session nothing is kept."""
    if session_id := request.session.get("id"):
        await _sessions_of(request).keep_notices(session_id, notices)


async def names_of(request: Request, subjects: Collection[str]) -> Mapping[str, str]:
    """Return subject -> name of staff, as their last sign-in said it."""
    return await _sessions_of(request).names_of(subjects)


def _sessions_of(request: Request) -> StaffSessions:
    found: StaffSessions = request.app.state.staff_sessions
    return found


def drafts_of(request: Request) -> FormDrafts:
    """Return the store of forms that are being filled in."""
    found: FormDrafts = request.app.state.form_drafts
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
    if not _same(request.session.get("csrf", ""), (await request.form()).get("csrf_token", "")):
        raise Problem(
            403,
            FORM_NOT_OURS,
            "Dit formulier is verlopen of komt niet van deze pagina. Er is niets opgeslagen.",
            "This form has expired or does not come from this page. Nothing was saved.",
        )


def _same(expected: str, sent: object) -> bool:
    return bool(expected) and isinstance(sent, str) and hmac.compare_digest(sent.encode(), expected.encode())


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

_LONGEST_NAME = 200
CALLBACK, SIGNED_OUT = "/aanmelden/terug", "/afmelden"


class InsecureAddress(ValueError):
    """Sign-in over http:// is allowed on this machine only: use an https:// address."""


class SignIn:
    """The client of the sign-in service. `address`: the URL at which browsers reach the counter.

    `names`: where in a token is what; `name_claim`: where the name of a person is. Raises InsecureAddress.
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
        self._client = client_of(issuer, client_id, client_secret)

    async def ready(self) -> None:
        """Do all of a sign-in that needs no person: discovery, keys, its beginning, the client's secret.

        Raises SignInFailed, whose text says what to do.
        """
        await self._metadata()
        try:
            if not (await self._client.fetch_jwk_set(force=True))["keys"]:
                raise SignInFailed(MISMATCH, "the sign-in service has no key for signatures")
            await self._client.check_beginning(self._callback)
            await self._client.fetch_access_token(self._callback, code="none", code_verifier="-" * 43)
        except OAuthError as error:
            # A code that was never given is refused; only then is it certain that the client was not.
            if error.error in UNKNOWN_CLIENT:
                raise failure_of(error, self._secret) from error
        except (httpx2.HTTPError, JoseError, *UNREADABLE) as error:
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
        response: Response = await self._client.authorize_redirect(request, self._callback, **asked)
        return response

    async def finish(self, request: Request) -> dict[str, str]:
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
            try:
                return self._staff(claims)
            except WrongClaim:
                if not metadata.get("userinfo_endpoint"):
                    raise
            more = dict(await self._client.userinfo(token=token))
            if more.get("sub") != claims["sub"]:
                raise SignInFailed(MISMATCH, "the userinfo endpoint answered about another sub")
            return self._staff(more | claims)
        except (httpx2.HTTPError, OAuthError, JoseError, SignInFailed, *UNREADABLE) as error:
            # Perhaps it is the keys that cannot be read: the next sign-in reads them again.
            self._client.server_metadata.pop("jwks", None)
            raise failure_of(error, self._secret) from error

    def _staff(self, claims: Mapping[str, Any]) -> dict[str, str]:
        """Return who it is, for the session. Raises WrongClaim."""
        names = self._names
        organisations, scopes = organisations_of(claims, names), scopes_of(claims, names)
        if not organisations:
            raise names.missing(names.organisation)
        if not scopes:
            raise names.missing(names.scope)
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
