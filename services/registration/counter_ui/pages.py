"""What all pages have in common: a form is checked, and a refusal becomes a page in the reader's language."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from registration.api.problems import KINDS
from registration.counter_ui.next_steps import next_step
from registration.counter_ui.rendering import page, sayer, sentence_of
from registration.counter_ui.session import SignInNeeded, check_csrf
from shared.web.problem_handlers import http_exception, known_problem
from shared.web.problems import Problem, correlation_id
from shared.web.request_context import internal_error, log_unexpected

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
    return known_problem(error, KINDS)


def problem_page(request: Request, problem: Problem) -> Response:
    """The sentence, and what to do next."""
    return page(
        request,
        "problem.html",
        status_code=problem.status,
        sentence=sentence_of(request, problem),
        next_step=next_step(problem.code, sayer(request)),
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
