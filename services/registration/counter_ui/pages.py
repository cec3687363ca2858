"""What all pages have in common: rendering, form checks, and refusals as pages in the reader's language."""

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

from registration.api.problems import PROBLEM_TYPES
from registration.counter_ui.auth import SignInNeeded, check_csrf, csrf_token, staff_of
from registration.counter_ui.i18n import next_step, reason_of
from registration.domain.errors import GuestRefused
from shared.kernel.amsterdam import AMSTERDAM
from shared.web.middleware import internal_error, log_unexpected
from shared.web.problem_handlers import http_exception, known_problem
from shared.web.problems import Problem, correlation_id, wants_english

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
Translate = Callable[[str, str], str]


def page(request: Request, name: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """The template `name` with this context. Everything that is put into it is escaped.

    Templates know beside it: `say(dutch, english)`, `staff`, `organisation`, `csrf_token`, `new_key()` for
    the idempotency key of a form, `static(file)`, `notices`, `language`, and `here`: the path to which the
    language switch comes back (after a POST the scan page, unless the context says otherwise).
    """
    staff, translate = staff_of(request), translator(request)
    organisations = request.app.state.deps.organisations
    known = {
        "translate": translate,
        "language": language_of(request),
        "here": _here(request),
        "staff": staff,
        "organisation": organisations.get(staff.organisation) if staff else None,
        "csrf_token": csrf_token(request),
        "notices": [translate(*texts) for texts in request.session.pop("notices", ())],
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


def translator(request: Request) -> Translate:
    """The function that picks the text in the session's language."""
    if language_of(request) == "en":
        return lambda _dutch, english: english
    return lambda dutch, _english: dutch


def sentence_of(request: Request, problem: Problem) -> str:
    """What the problem says, in the session's language."""
    return translator(request)(problem.detail_nl, problem.detail_en)


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


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Page(APIRoute):
    """A route whose refusals are pages, not JSON."""

    def get_route_handler(self) -> Handler:
        """See `APIRoute.get_route_handler`."""
        answer = super().get_route_handler()

        async def answer_with_a_page(request: Request) -> Response:
            try:
                return await answer(request)
            except SignInNeeded:
                return _sign_in_first(request)
            except Exception as error:  # whatever it is, a clerk gets a page
                return problem_page(request, _problem(error))

        return answer_with_a_page


def pages(prefix: str = "", *dependencies: Any) -> APIRouter:
    """A router for pages; `dependencies` are of all of them, after the check of forms."""
    return APIRouter(
        prefix=prefix,
        route_class=Page,
        dependencies=[Depends(check_csrf), *dependencies],
        include_in_schema=False,
    )


def see_other(path: str) -> RedirectResponse:
    """After a POST: the browser asks for this page, so that a reload repeats nothing."""
    return RedirectResponse(path, 303)


def problem_of(error: Exception) -> Problem | None:
    """A refusal that is known, as a problem: for pages that show it beside their form."""
    return known_problem(error, PROBLEM_TYPES)


def problem_page(request: Request, problem: Problem) -> Response:
    """The sentence, and what to do next."""
    return page(
        request,
        "problem.html",
        status_code=problem.status,
        sentence=sentence_of(request, problem),
        next_step=next_step(problem.code, translator(request)),
        reference=str(correlation_id(request)) if problem.status >= 500 else None,
    )


async def no_such_page(request: Request, error: Exception) -> Response:
    """What the framework refuses, such as an address that is no page; programs get their problem."""
    if "text/html" not in request.headers.get("accept", "") or request.url.path.startswith("/v1/"):
        return await http_exception(request, error)
    return problem_page(request, _problem(error))


def _problem(error: Exception) -> Problem:
    known = problem_of(error)
    if known is not None:
        return known
    if isinstance(error, HTTPException) and error.status_code == 404:
        return Problem(404, "no-such-page", "Deze pagina bestaat niet.", "There is no such page.")
    if isinstance(error, RequestValidationError | HTTPException):
        return Problem(
            getattr(error, "status_code", 422),
            "malformed-request",
            "Deze pagina of dit formulier klopt niet. Er is niets opgeslagen.",
            "This page or form is not as it should be. Nothing was saved.",
        )
    log_unexpected(error)
    return internal_error()


def _sign_in_first(request: Request) -> Response:
    if request.method in {"GET", "HEAD"}:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return see_other(f"/aanmelden?next={quote(path, safe='')}")
    # A form must not be led to another server: the content policy forbids it, so the clerk clicks.
    return page(request, "signed_out.html", status_code=401, lost=True)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is shown. `kind`: warning when trying again may help, error otherwise."""

    code: str
    status: int
    kind: str
    sentence: str
    reasons: tuple[str, ...]
    next_step: str


def refusal_of(request: Request, error: Exception) -> Refusal:
    """Word it in the session's language; what is no refusal is raised on."""
    problem = problem_of(error)
    if problem is None:
        raise error
    translate = translator(request)
    reasons = error.reasons if isinstance(error, GuestRefused) else ()
    return Refusal(
        code=problem.code,
        status=problem.status,
        kind="warning" if problem.status == 503 else "error",
        sentence=sentence_of(request, problem),
        reasons=tuple(reason_of(str(reason), translate) for reason in reasons),
        next_step=next_step(problem.code, translate),
    )
