"""Rendering a page: its template, in the language of the session, under a strict content policy."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from registration.application.ports import AMSTERDAM
from registration.counter_ui.session import csrf_token, staff_of
from shared.web.problems import Problem, wants_english

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
Say = Callable[[str, str], str]


def page(request: Request, name: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """The template `name` with this context. Everything that is put into it is escaped.

    Templates know beside it: `say(dutch, english)`, `staff`, `organisation`, `csrf_token`, `new_key()` for
    the idempotency key of a form, `static(file)`, `notices`, `language`, and `here`: the path to which the
    language switch comes back (after a POST the scan page, unless the context says otherwise).
    """
    staff, say = staff_of(request), sayer(request)
    organisations = request.app.state.registration.organisations
    known = {
        "say": say,
        "language": language_of(request),
        "here": _here(request),
        "staff": staff,
        "organisation": organisations.get(staff.organisation) if staff else None,
        "csrf_token": csrf_token(request),
        "notices": [say(*texts) for texts in request.session.pop("notices", ())],
        "new_key": lambda: str(uuid4()),
        "static": static_address,
    }
    html = _templates().get_template(name).render(known | context)
    headers = {"Content-Security-Policy": POLICY, "Content-Language": language_of(request)}
    return HTMLResponse(html, status_code, headers)


def language_of(request: Request) -> str:
    """`nl` or `en`: as chosen in this session, else as the browser asks."""
    chosen = request.session.get("language")
    return chosen if chosen in {"nl", "en"} else ("en" if wants_english(request) else "nl")


def sayer(request: Request) -> Say:
    """The function that picks the text in the session's language."""
    if language_of(request) == "en":
        return lambda _dutch, english: english
    return lambda dutch, _english: dutch


def sentence_of(request: Request, problem: Problem) -> str:
    """What the problem says, in the session's language."""
    return sayer(request)(problem.detail_nl, problem.detail_en)


def notify(request: Request, dutch: str, english: str) -> None:
    """Something to say on the next page. It travels in the cookie: nothing of a guest may be in it."""
    request.session["notices"] = [*request.session.get("notices", ()), (dutch, english)]


def static_address(file: str) -> str:
    """The address of a file of ours. It changes with the content, so that browsers may keep it for ever."""
    return f"/static/{file}?v={_digest(file)}"


@cache
def _digest(file: str) -> str:
    return hashlib.sha256((STATIC / file).read_bytes()).hexdigest()[:12]


def _here(request: Request) -> str:
    """Where the language switch comes back to."""
    if request.method != "GET":
        return "/"
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _moment(moment: datetime | None) -> str:
    """As on the clock at the counter; empty for none."""
    return moment.astimezone(AMSTERDAM).strftime("%d-%m-%Y %H:%M") if moment else ""


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["day"] = lambda day: day.strftime("%d-%m-%Y") if day else ""
    environment.filters["moment"] = _moment
    return environment
