"""What all pages share: rendering, the check of forms, and errors as pages in the session's language.

Every form is answered by a redirect (drafts.py), also when something went wrong.
"""

import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Message

from registration.adapters.staff_sessions import Notice
from registration.api.problems import PROBLEM_TYPES
from registration.application.find_home_library import library_names
from registration.counter_ui.auth import (
    FORM_NOT_OURS,
    SignInNeeded,
    check_csrf,
    check_session,
    csrf_token,
    keep_notices,
    owner_of_lost_form,
    staff_of,
)
from registration.counter_ui.drafts import (
    Kept,
    fields_of,
    is_stale,
    keep,
    keep_form,
    kept_of,
    load_draft,
)
from registration.counter_ui.i18n import Texts, next_step, reason_of
from shared.kernel.amsterdam import AMSTERDAM, day_of
from shared.kernel.library_card import MalformedIsil, isil_base
from shared.web.middleware import log_unexpected
from shared.web.problem_handlers import http_exception, known_problem, problem_of_unexpected
from shared.web.problems import Problem, correlation_id, wants_english

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
Translate = Callable[[str, str], str]


def page(request: Request, name: str, /, *, status_code: int = 200, **context: Any) -> HTMLResponse:
    """Render the template `name` with this context. All values are escaped.

    Every template also has `translate(dutch, english)`, `static(file)`, `staff`, `organisation`, `language`,
    `csrf_token`, `notices`, `new_key()` for the idempotency key of a form, `library_name(isil)` for a name
    beside its ISIL, `here`: the path of this page, `typed`: what was filled in on it before, by name of the
    field, `unsent`: that has to be sent again, and `stale`: that is not kept any more. `page` and `tab` name
    its help and its hint; `hints_off` are the hints that are switched off. `reference` of an error is its
    correlation id, which the log has too.
    """
    shown = _shared(request) | {
        "here": _here(request),
        "page": name,
        "tab": "",
        "hints_off": request.session.get("hints_off", ()),
        "reference": _reference(request) if status_code >= 400 else None,
    }
    shown["notices"] = [shown["translate"](*texts) for texts in _notices(request)]
    html = _templates().get_template(name).render(shown | context)
    headers = {"Content-Security-Policy": POLICY, "Content-Language": language_of(request)}
    return HTMLResponse(html, status_code, headers)


def _reference(request: Request) -> str:
    """Return the id of the request that failed: of the form before this page, if it was refused."""
    return (kept_of(request).refusal or {}).get("reference") or str(correlation_id(request))


def fragment(request: Request, name: str, /, **context: Any) -> str:
    """Render a part of a page, for a stream: as `page`, without notices and `here`."""
    return _templates().get_template(name).render(_shared(request) | context)


def _shared(request: Request) -> dict[str, Any]:
    staff, organisations = staff_of(request), request.app.state.deps.organisations
    return {
        "translate": translator(request),
        "language": language_of(request),
        "staff": staff,
        "organisation": organisations.get(staff.organisation) if staff else None,
        "csrf_token": csrf_token(request),
        "new_key": lambda: str(uuid4()),
        "library_name": lambda isil: _library(request, isil),
        "static": static_address,
        "typed": kept_of(request).fields,
        "unsent": kept_of(request).unsent,
        "stale": is_stale(request),
    }


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
    """Show one line on the session's next page, once: what was done, without data about a guest.

    It is stored with the session on the server until that page is shown.
    """
    request.state.notices = [*_notices(request), (dutch, english)]


def _notices(request: Request) -> Sequence[Notice]:
    found: Sequence[Notice] = getattr(request.state, "notices", [])
    return found


def static_address(file: str) -> str:
    """Return the address of a static file. It changes with the content, so browsers may cache it."""
    return f"/static/{file}?v={_digest(file)}"


@cache
def _digest(file: str) -> str:
    return hashlib.sha256((STATIC / file).read_bytes()).hexdigest()[:12]


def _here(request: Request) -> str:
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
    environment.filters["on_day"] = lambda moment: day_of(moment).strftime("%d-%m-%Y")
    environment.filters["isolated"] = _isolated
    return environment


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Page(APIRoute):
    """A route whose errors are pages, not JSON.

    A route with both GET and POST is a question: what is sent is kept, and the page that follows answers it.
    So no address holds a person's name, and a reload asks again without asking the clerk.
    """

    def get_route_handler(self) -> Handler:
        """Return a handler that checks the session, and turns every exception into a page."""
        handle = super().get_route_handler()
        is_question = {"GET", "POST"} <= (self.methods or set())

        async def handle_with_pages(request: Request) -> Response:
            try:
                await check_session(request)
                before = _notices(request)
                if staff_of(request) is not None:
                    prefixes = request.app.state.deps.card_prefixes
                    request.state.listed_libraries = await prefixes.libraries()
                if request.method != "POST":
                    await load_draft(request)
                    kept = kept_of(request)
                    response = await handle(_asking(request, kept.fields) if kept.asked else request)
                elif is_question:
                    await check_csrf(request)
                    question = Kept(fields=await fields_of(request), asked=True)
                    response = await keep(request, request.url.path, question)
                else:
                    response = await handle(request)
                # A page has said them; after a redirect, or beside a stream, they are still to be said.
                left = [] if isinstance(response, HTMLResponse) else _notices(request)
                if left != before:
                    await keep_notices(request, left)
                return response
            except Exception as error:  # a clerk gets a page for every error
                return await _failed(request, error)

        return handle_with_pages


def _asking(request: Request, fields: Mapping[str, str]) -> Request:
    """Return this GET with the form of a question, which the page reads as if it had been sent now."""
    body, kind = urlencode(fields).encode(), (b"content-type", b"application/x-www-form-urlencoded")
    headers = [header for header in request.scope["headers"] if header[0] not in _ABOUT_THE_BODY]

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({**request.scope, "headers": [*headers, kind]}, receive)


_ABOUT_THE_BODY = frozenset({b"content-type", b"content-length", b"transfer-encoding"})


async def _failed(request: Request, error: Exception) -> Response:
    """Return a page that says what went wrong; for a form, a redirect to that page."""
    if request.method != "POST":
        if isinstance(error, SignInNeeded):
            return _sign_in_first(request)
        return problem_page(request, _problem(error))
    lost = isinstance(error, SignInNeeded)
    problem = None if lost else _problem(error)
    if problem is None or problem.code == FORM_NOT_OURS:
        try:
            if saved := await _rescued(request, lost=lost):
                return saved
        except Exception as failure:  # what was filled in cannot be kept, and the clerk sees why
            problem = _problem(failure)
    problem = problem or _problem(error)
    request.session["problem"] = {
        "problem": [problem.status, problem.code, problem.detail_nl, problem.detail_en],
        "headers": dict(problem.headers),
        "reference": str(correlation_id(request)),
    }
    return see_other("/melding")


async def _rescued(request: Request, *, lost: bool) -> Response | None:
    """Keep a form that may not be carried out, for its clerk to send again; None if it is nobody's.

    `lost`: its session is over.
    """
    owner = await owner_of_lost_form(request)
    if owner and staff_of(request):
        return see_other(await keep_form(request, owner))
    if owner is None and not lost:
        return None
    back = await keep_form(request, owner) if owner else ""
    return see_other("/aanmelden/verlopen" + (f"?next={quote(back, safe='')}" if back else ""))


def last_problem(request: Request) -> Response:
    """Show the problem of the last form of this session that could not be carried out."""
    stored = request.session.get("problem")
    if not stored:
        return see_other("/")
    problem = Problem(*stored["problem"], headers=stored["headers"])
    return problem_page(request, problem, reference=stored["reference"])


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
    shown = page(
        request,
        "problem.html",
        status_code=problem.status,
        sentence=sentence_of(request, problem),
        next_step=next_step(problem.code, translator(request), beside_form=False),
        notices=(),  # they are for the page that the clerk asked for
        **context,
    )
    shown.headers.update(problem.headers)
    return shown


async def no_such_page(request: Request, error: Exception) -> Response:
    """Handle errors of the framework, such as an unknown address: a page for browsers, JSON for programs."""
    if "text/html" not in request.headers.get("accept", "") or request.url.path.startswith("/v1/"):
        return await http_exception(request, error)
    try:
        await check_session(request)
    except Exception as failure:  # as on every other page
        error = failure
    return await _failed(request, error)


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
    return problem_of_unexpected(error)


def _sign_in_first(request: Request) -> Response:
    return see_other(f"/aanmelden?next={quote(_here(request), safe='')}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal as pages show it. `kind`: `warning` if trying again may help, else `error`."""

    code: str
    status: int
    kind: str
    sentence: str
    reasons: tuple[str, ...]
    next_step: str


async def again(
    request: Request,
    path: str,
    form: BaseModel | None = None,
    *,
    errors: Mapping[str, Texts] | None = None,
    refused: Exception | None = None,
) -> Response:
    """Send the browser to the page of this form at `path`, to show it again with what is wrong with it.

    `refused`: a known error; an unknown one is raised again.
    """
    filled = form.model_dump() if form else {}
    fields = {name: str(value) for name, value in filled.items() if value not in {"", False, None}}
    refusal = None
    if refused is not None:
        problem = problem_of(refused)
        if problem is None:
            raise refused
        refusal = {
            "problem": [problem.status, problem.code, problem.detail_nl, problem.detail_en],
            "reasons": [str(reason) for reason in getattr(refused, "reasons", ())],
            "reference": str(correlation_id(request)),
        }
    return await keep(request, path, Kept(fields=fields, errors=errors or {}, refusal=refusal))


def kept_refusal(request: Request) -> Refusal | None:
    """Return why the form that this page shows again was refused, in the session's language."""
    kept = kept_of(request).refusal
    if kept is None:
        return None
    problem, translate = Problem(*kept["problem"]), translator(request)
    return Refusal(
        code=problem.code,
        status=problem.status,
        kind="warning" if problem.status in {429, 503} else "error",
        sentence=sentence_of(request, problem),
        reasons=tuple(reason_of(reason, translate) for reason in kept["reasons"]),
        next_step=next_step(problem.code, translate, beside_form=True),
    )
