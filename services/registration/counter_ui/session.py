"""Who is signed in at this browser: kept in a signed cookie, which ends with the working day.

The cookie holds the staff member's own name and choices, and nothing about a guest.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from registration.api.dependencies import Clerk
from registration.application.ports import Organisation, Registration
from shared.event_log import Metadata
from shared.web.problems import Problem, correlation_id

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
    session, registration = request.session, _registration_of(request)
    known, ends_at = session.get("staff"), session.get("ends_at", 0)
    if not known or registration.clock.now().timestamp() >= ends_at:
        return None
    organisation = registration.organisations.get(known["organisation"])
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


def _registration_of(request: HTTPConnection) -> Registration:
    found: Registration = request.app.state.registration
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


TheStaff = Annotated[Staff, Depends(_staff)]


async def _counter_clerk(request: Request, staff: TheStaff) -> Clerk:
    needs(staff, "counter")
    return Clerk(staff.organisation, Metadata(staff.subject, correlation_id(request)))


async def operator_staff(staff: TheStaff) -> Staff:
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


TheCounterClerk = Annotated[Clerk, Depends(_counter_clerk)]
TheOperatorStaff = Annotated[Staff, Depends(operator_staff)]
