"""Signed-in staff: sessions and their signed cookie, and the check of forms (CSRF)."""

import hmac
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from registration.adapters.staff_sessions import DRAFT_LIFETIME, FormDrafts, Notice, StaffSessions
from registration.api.dependencies import Clerk, RecordedDirectory, recorded_directory
from registration.application.dependencies import Dependencies, Organisation
from shared.event_log import Metadata
from shared.web.problems import Problem, correlation_id
from shared.web.security import (
    INSTALLATION,
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
    session["id"] = await _sessions_of(request).begin(
        claims["sub"], claims["name"], claims["organisation"], claims["elsewhere"]
    )
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
        request.state.caller = session["staff"]["sub"]
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
