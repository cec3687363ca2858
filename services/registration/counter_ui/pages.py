"""What all pages share: rendering, the check of forms, and errors as pages in the session's language."""

import hashlib
from collections.abc import Callable, Coroutine, Mapping
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
from markupsafe import Markup
from starlette.exceptions import HTTPException

from registration.api.problems import PROBLEM_TYPES
from registration.application.find_home_library import library_names
from registration.counter_ui.auth import SignInNeeded, check_csrf, check_session, csrf_token, staff_of
from registration.counter_ui.i18n import next_step, reason_of
from registration.domain.errors import GuestRefused
from shared.kernel.amsterdam import AMSTERDAM
from shared.kernel.library_card import MalformedIsil, isil_base
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
    """Render the template `name` with this context. All values are escaped.

    Every template also has `translate(dutch, english)`, `static(file)`, `staff`, `organisation`, `language`,
    `csrf_token`, `notices`, `new_key()` for the idempotency key of a form, `library_name(isil)` for a name
    beside its ISIL, and `here`: the path to which the language switch returns (`/` after a POST, unless the
    context has another).
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
        "library_name": lambda isil: _library(request, isil),
        "static": static_address,
    }
    html = _templates().get_template(name).render(known | context)
    headers = {"Content-Security-Policy": POLICY, "Content-Language": language_of(request)}
    return HTMLResponse(html, status_code, headers)


def language_of(request: Request) -> str:
    """Return `nl` or `en`: the choice in this session, else the browser's preference."""
    chosen = request.session.get("language")
    return chosen if chosen in {"nl", "en"} else ("en" if wants_english(request) else "nl")


def translator(request: Request) -> Translate:
    """Return the function that picks the text in the session's language."""
    if language_of(request) == "en":
        return lambda _dutch, english: english
    return lambda dutch, _english: dutch


def sentence_of(request: Request, problem: Problem) -> str:
    """Return the problem's sentence in the session's language."""
    return translator(request)(problem.detail_nl, problem.detail_en)


def notify(request: Request, dutch: str, english: str) -> None:
    """Show a notice on the next page. It is stored in the cookie, so it must not hold data about a guest."""
    request.session["notices"] = [*request.session.get("notices", ()), (dutch, english)]


def static_address(file: str) -> str:
    """Return the address of a static file. It changes with the content, so browsers may cache it."""
    return f"/static/{file}?v={_digest(file)}"


@cache
def _digest(file: str) -> str:
    return hashlib.sha256((STATIC / file).read_bytes()).hexdigest()[:12]


def _here(request: Request) -> str:
    """Return the path to which the language switch returns."""
    if request.method != "GET":
        return "/"
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _moment(moment: datetime | None) -> str:
    """Return the moment in Europe/Amsterdam as text; empty for None."""
    return moment.astimezone(AMSTERDAM).strftime("%d-%m-%Y %H:%M") if moment else ""


def _isolated(text: object) -> Markup:
    """Return text, escaped, whose direction does not change the text around it; empty for an empty value."""
    return Markup("<bdi>{}</bdi>").format(text) if text not in {None, ""} else Markup()


def _library(request: Request, isil: str) -> Markup:
    """Return a library's name with its ISIL, escaped; the ISIL alone when the name is not known."""
    shown = Markup('<span class="isil">{}</span>').format(isil)
    try:
        name = _library_names(request).get(isil_base(isil))
    except MalformedIsil:
        name = None
    return Markup("<bdi>{}</bdi> {}").format(name, shown) if name else shown


def _library_names(request: Request) -> Mapping[str, str]:
    """Return the names of libraries, made once for a page that needs them; none before the sign-in."""
    state = request.state
    if not hasattr(state, "library_names"):
        listed = getattr(state, "listed_libraries", ())
        state.library_names = library_names(listed, request.app.state.deps)
    names: Mapping[str, str] = state.library_names
    return names


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
    environment.filters["isolated"] = _isolated
    return environment


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Page(APIRoute):
    """A route whose errors are pages, not JSON."""

    def get_route_handler(self) -> Handler:
        """Return a handler that checks the session, and turns every exception into a page."""
        handle = super().get_route_handler()

        async def handle_with_pages(request: Request) -> Response:
            try:
                await check_session(request)
                if staff_of(request) is not None:
                    prefixes = request.app.state.deps.card_prefixes
                    request.state.listed_libraries = await prefixes.libraries()
                return await handle(request)
            except SignInNeeded:
                return _sign_in_first(request)
            except Exception as error:  # a clerk gets a page for every error
                return problem_page(request, _problem(error))

        return handle_with_pages


def pages(prefix: str = "", *dependencies: Any) -> APIRouter:
    """Return a router for pages. Every route checks its form first, then has these `dependencies`."""
    return APIRouter(
        prefix=prefix,
        route_class=Page,
        dependencies=[Depends(check_csrf), *dependencies],
        include_in_schema=False,
    )


def see_other(path: str) -> RedirectResponse:
    """Redirect after a POST: a reload then repeats only the GET of this path."""
    return RedirectResponse(path, 303)


def problem_of(error: Exception) -> Problem | None:
    """Return the problem of a known error, for pages that show it beside their form; None if unknown."""
    return known_problem(error, PROBLEM_TYPES)


def problem_page(request: Request, problem: Problem, **context: Any) -> Response:
    """Render the problem's sentence and the next step. `context`: more for the template."""
    known = {"reference": str(correlation_id(request)) if problem.status >= 500 else None}
    shown = page(
        request,
        "problem.html",
        status_code=problem.status,
        sentence=sentence_of(request, problem),
        next_step=next_step(problem.code, translator(request), beside_form=False),
        **known | context,
    )
    shown.headers.update(problem.headers)
    return shown


async def no_such_page(request: Request, error: Exception) -> Response:
    """Handle errors of the framework, such as an unknown address: a page for browsers, JSON for programs."""
    if "text/html" not in request.headers.get("accept", "") or request.url.path.startswith("/v1/"):
        return await http_exception(request, error)
    try:
        await check_session(request)
    except SignInNeeded:
        return _sign_in_first(request)
    except Exception as failure:  # as on every other page
        error = failure
    return problem_page(request, _problem(error))


def _problem(error: Exception) -> Problem:
    known = problem_of(error)
    if known is not None:
        return known
    if isinstance(error, HTTPException) and error.status_code == 404:
        return Problem(404, "no-such-page", "Deze pagina bestaat niet.", "This page does not exist.")
    if isinstance(error, RequestValidationError | HTTPException):
        return Problem(
            getattr(error, "status_code", 422),
            "malformed-request",
            "Deze pagina of dit formulier klopt niet. Er is niets opgeslagen.",
            "This page or form is not valid. Nothing was saved.",
        )
    log_unexpected(error)
    return internal_error()


def _sign_in_first(request: Request) -> Response:
    if request.method in {"GET", "HEAD"}:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return see_other(f"/aanmelden?next={quote(path, safe='')}")
    # The content policy forbids a redirect of a form to another server, so the clerk clicks a link.
    return page(request, "signed_out.html", status_code=401, lost=True, ending=None)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal as pages show it. `kind`: `warning` if trying again may help, else `error`."""

    code: str
    status: int
    kind: str
    sentence: str
    reasons: tuple[str, ...]
    next_step: str


def refusal_of(request: Request, error: Exception) -> Refusal:
    """Return the error as a refusal in the session's language. An unknown error is raised again."""
    problem = problem_of(error)
    if problem is None:
        raise error
    translate = translator(request)
    reasons = error.reasons if isinstance(error, GuestRefused) else ()
    return Refusal(
        code=problem.code,
        status=problem.status,
        kind="warning" if problem.status in {429, 503} else "error",
        sentence=sentence_of(request, problem),
        reasons=tuple(reason_of(str(reason), translate) for reason in reasons),
        next_step=next_step(problem.code, translate, beside_form=True),
    )
