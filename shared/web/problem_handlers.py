"""The one place where exceptions become problems: each service's own, the log's, the framework's.

An exception that nobody mapped is answered by `RequestContext` (operations.py) as 500 `internal-error`.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, cast

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.event_log.errors import LogOverloaded, LogUnavailable, VersionConflict
from shared.platform.postgres import TRANSIENT, is_transient
from shared.projections import ViewBehind
from shared.web.problems import MEDIA_TYPE, Problem, ProblemType, ProblemTypes, response
from shared.web.security import KeysUnavailable

_NO_DATABASE = ProblemType(
    503, "database-unavailable", "De opslag is even niet bereikbaar. Probeer het zo opnieuw.", retry_after=2
)
_OVERLOADED = ProblemType(
    503, "overloaded", "Het is nu te druk. Er is niets opgeslagen; probeer het zo opnieuw.", retry_after=1
)
SHARED_PROBLEM_TYPES: ProblemTypes = {
    LogOverloaded: _OVERLOADED,
    LogUnavailable: _NO_DATABASE,
    # A use case decides again by itself; this comes out only when it was overtaken time and again.
    VersionConflict: _OVERLOADED,
    ViewBehind: ProblemType(
        503, "view-behind", "Het overzicht is nog niet bijgewerkt. Probeer het zo opnieuw.", retry_after=1
    ),
    KeysUnavailable: ProblemType(
        503, "sign-in-unavailable", "Aanmelden kan even niet. Probeer het zo opnieuw.", retry_after=5
    ),
}
# Reads go to the pool without the log in between.
_DATABASE_ERRORS = (*TRANSIENT, asyncpg.InterfaceError)


def known_problem(error: Exception, problem_types: ProblemTypes) -> Problem | None:
    """An exception that is somebody's to tell of, as a problem; None for what nobody expected."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, _DATABASE_ERRORS) and is_transient(error):
        return _NO_DATABASE.of(LogUnavailable())
    everything = {**SHARED_PROBLEM_TYPES, **problem_types}
    found = next((everything[kind] for kind in type(error).__mro__ if kind in everything), None)
    return found.of(error) if found else None


def install(app: FastAPI, problem_types: ProblemTypes) -> None:
    """Answer every refusal of `app` as a problem; `kinds` maps the service's own exception classes."""
    for exception, kind in {**SHARED_PROBLEM_TYPES, **problem_types}.items():
        app.add_exception_handler(exception, _handler_of(kind))
    for gone in _DATABASE_ERRORS:
        app.add_exception_handler(gone, _database_gone)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _malformed_request)
    app.add_exception_handler(HTTPException, http_exception)


def _handler_of(kind: ProblemType) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        return response(kind.of(error), request)

    return answer


async def _problem(request: Request, error: Exception) -> JSONResponse:
    return response(cast("Problem", error), request)


async def _database_gone(request: Request, _error: Exception) -> JSONResponse:
    return response(_NO_DATABASE.of(LogUnavailable()), request)


async def _malformed_request(request: Request, error: Exception) -> JSONResponse:
    """Name the fields, never repeat what was in them: it may be personal, or a card number."""
    faults = [
        {
            "field": ".".join(str(part) for part in fault["loc"]),
            "message": fault["msg"],
            "kind": fault["type"],
        }
        for fault in cast("RequestValidationError", error).errors()
    ]
    return response(malformed_request(faults), request)


def malformed_request(faults: Sequence[dict[str, str]]) -> Problem:
    """422 `malformed-request`; each fault has a `field`, a `message` and a `kind`."""
    names = ", ".join(dict.fromkeys(fault["field"] for fault in faults))
    return Problem(
        422,
        "malformed-request",
        f"De aanvraag klopt niet: {names}.",
        f"The request is malformed: {names}.",
        extra={"errors": list(faults)},
    )


_DUTCH = {
    404: "Deze pagina bestaat niet.",
    405: "Deze methode is hier niet toegestaan.",
    413: "De aanvraag is te groot.",
}


async def http_exception(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: no such path, no such method, too large."""
    known = cast("HTTPException", error)
    status = HTTPStatus(known.status_code)
    code = status.phrase.lower().replace(" ", "-")
    dutch = _DUTCH.get(status, "De aanvraag kan niet worden verwerkt.")
    return response(Problem(status.value, code, dutch, f"{status.phrase}.", headers=known.headers), request)


PROBLEM_SCHEMA = {
    "type": "object",
    "description": "RFC 9457 problem; some codes add members of their own",
    "required": ["type", "title", "status", "code", "detail", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
    },
}
_EVERYWHERE = (
    ProblemType(401, "unauthenticated", "Log eerst in."),
    ProblemType(403, "wrong-scope", "U heeft geen toegang tot deze functie."),
    ProblemType(422, "malformed-request", "De aanvraag klopt niet: body.card_number."),
    *SHARED_PROBLEM_TYPES.values(),
)


def problem_responses(
    problem_types: ProblemTypes, *errors: type[Exception]
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these errors, beside those of every route."""
    return answers([*_EVERYWHERE, *(problem_types[error] for error in errors)])


def answers(problem_types: Iterable[ProblemType]) -> dict[int | str, dict[str, Any]]:
    """Problems as OpenAPI responses, by status; each code is an example."""
    by_status: dict[int, dict[str, Any]] = {}
    for kind in problem_types:
        by_status.setdefault(kind.status, {})[kind.code] = {"value": _example(kind)}
    return {
        status: {
            "description": ", ".join(f"`{code}`" for code in examples),
            "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "examples": examples}},
        }
        for status, examples in by_status.items()
    }


def _example(kind: ProblemType) -> dict[str, object]:
    return {
        "type": f"urn:landelijk-lenen:problem:{kind.code}",
        "title": HTTPStatus(kind.status).phrase,
        "status": kind.status,
        "code": kind.code,
        "detail": kind.detail_nl,
        "instance": "urn:uuid:0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11",
    }
