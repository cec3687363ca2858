"""Turns exceptions into problems: those of the service, of the event log and of the framework (ADR 0017).

`RequestContext` (middleware.py) responds to all other exceptions, as `problem_of_unexpected` says.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.event_log.errors import LogOverloaded, LogUnavailable, RecordUnreadable, VersionConflict
from shared.kernel.library_card import ScanFault
from shared.messaging.errors import NotParked, OnlyWaiting
from shared.messaging.webhook_state import NoSuchReceiver
from shared.platform.postgres import TRANSIENT, is_caused_by_outage, is_transient
from shared.projections import NoSuchView, RebuildRunning, ViewBehind
from shared.web.problems import MEDIA_TYPE, Problem, ProblemType, ProblemTypes, internal_error, response
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
    # Use cases retry on conflict. A caller sees this only when every attempt failed.
    VersionConflict: _OVERLOADED,
    ViewBehind: ProblemType(
        503, "view-behind", "Het overzicht is nog niet bijgewerkt. Probeer het zo opnieuw.", retry_after=1
    ),
    KeysUnavailable: ProblemType(
        503, "sign-in-unavailable", "Aanmelden kan even niet. Probeer het zo opnieuw.", retry_after=5
    ),
}
OPERATORS_PROBLEM_TYPES: ProblemTypes = {
    NotParked: ProblemType(404, "not-held", "Deze gastlener is niet (meer) geparkeerd."),
    OnlyWaiting: ProblemType(
        409,
        "only-waiting",
        "De berichten van deze gastlener wachten nog en worden vanzelf opnieuw geprobeerd. Sla ze niet over.",
    ),
    NoSuchView: ProblemType(404, "no-such-view", "Deze weergave bestaat niet."),
    NoSuchReceiver: ProblemType(404, "no-such-receiver", "Er is geen ontvanger van webhooks met deze naam."),
    RebuildRunning: ProblemType(
        409,
        "rebuild-running",
        "Een ander proces is deze weergave al aan het herbouwen of controleren. Er is niets veranderd.",
    ),
}
"""What can be wrong with an operator's action at either service."""
# Like the unexpected errors they are not part of a route's description: no caller can act on them.
_OF_ONE_RECORD: ProblemTypes = {
    RecordUnreadable: ProblemType(
        500,
        "record-unreadable",
        "Deze gegevens kunnen nu niet worden gelezen. Er is niets opgeslagen; meld dit aan een beheerder.",
    )
}
# Reads use the pool directly, so they raise the errors of the driver and not those of the event log.
_DATABASE_ERRORS = (*TRANSIENT, asyncpg.InterfaceError)


def known_problem(error: Exception, problem_types: ProblemTypes) -> Problem | None:
    """Return the problem of an exception; None for an unexpected one."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, _DATABASE_ERRORS) and is_transient(error):
        return _NO_DATABASE.of(LogUnavailable())
    known = {**SHARED_PROBLEM_TYPES, **OPERATORS_PROBLEM_TYPES, **_OF_ONE_RECORD, **problem_types}
    problem_type = next((known[exception] for exception in type(error).__mro__ if exception in known), None)
    return problem_type.of(error) if problem_type else None


def problem_of_unexpected(error: Exception) -> Problem:
    """Return the problem of an error without a class here: 503 when it came of an outage of the database."""
    return _NO_DATABASE.of(LogUnavailable()) if is_caused_by_outage(error) else internal_error()


def install(app: FastAPI, problem_types: ProblemTypes) -> None:
    """Show the errors of `app` as problems. `problem_types` holds the service's own exception classes."""
    all_types = {**SHARED_PROBLEM_TYPES, **OPERATORS_PROBLEM_TYPES, **_OF_ONE_RECORD, **problem_types}
    for exception, problem_type in all_types.items():
        app.add_exception_handler(exception, _handler_of(problem_type))
    for exception in _DATABASE_ERRORS:
        app.add_exception_handler(exception, _database_unavailable)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _malformed_request)
    app.add_exception_handler(HTTPException, http_exception)


def _handler_of(problem_type: ProblemType) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def handle(request: Request, error: Exception) -> JSONResponse:
        return response(problem_type.of(error), request)

    return handle


async def _problem(request: Request, error: Exception) -> JSONResponse:
    return response(cast("Problem", error), request)


async def _database_unavailable(request: Request, _error: Exception) -> JSONResponse:
    return response(_NO_DATABASE.of(LogUnavailable()), request)


async def _malformed_request(request: Request, error: Exception) -> JSONResponse:
    """Name the wrong fields, without their values: these may be personal data."""
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
    """Return the problem 422 `malformed-request`; a fault has a `field`, a `message` and a `kind`."""
    names = ", ".join(dict.fromkeys(fault["field"] for fault in faults))
    return Problem(
        422,
        "malformed-request",
        f"De aanvraag klopt niet: {names}.",
        f"The request is malformed: {names}.",
        extra={"errors": list(faults)},
    )


_TEXTS = {
    404: ("Deze pagina bestaat niet.", "This page does not exist."),
    405: ("Deze methode is hier niet toegestaan.", "This method is not allowed here."),
    408: ("De aanvraag kwam niet op tijd binnen.", "The request did not arrive in time."),
    413: ("De aanvraag is te groot.", "The request is too large."),
    431: ("De kop van de aanvraag is te groot.", "The head of the request is too large."),
}
_OTHER_TEXTS = ("De aanvraag kan niet worden verwerkt.", "The request cannot be processed.")


async def http_exception(request: Request, error: Exception) -> JSONResponse:
    """Handle an error of the framework: unknown path, wrong method, body too large."""
    known = cast("HTTPException", error)
    return response(problem_of_status(known.status_code, known.headers), request)


def problem_of_status(code: int, headers: Mapping[str, str] | None = None) -> Problem:
    """Return the problem of an HTTP status that has no exception class here."""
    status = HTTPStatus(code)
    dutch, english = _TEXTS.get(status, _OTHER_TEXTS)
    return Problem(status.value, status.phrase.lower().replace(" ", "-"), dutch, english, headers=headers)


PROBLEM = {"$ref": "#/components/schemas/Problem"}
_TEXT = {"type": "string"}
_UUID = {"type": "string", "format": "uuid"}
PROBLEM_SCHEMAS: Mapping[str, dict[str, Any]] = {
    "Problem": {
        "type": "object",
        "description": "A problem (RFC 9457). `code` says what is wrong, for programs; `detail` says it to"
        " people. The members that are not required come with some codes; there may be others later.",
        "required": ["type", "title", "status", "code", "detail", "instance"],
        "properties": {
            "type": _TEXT | {"format": "uri", "examples": ["urn:landelijk-lenen:problem:guest-refused"]},
            "title": _TEXT | {"description": "The name of the HTTP status."},
            "status": {"type": "integer"},
            "code": _TEXT,
            "detail": _TEXT | {"description": "A sentence in Dutch, or in English by `Accept-Language`."},
            "instance": _TEXT | {"format": "uri", "description": "The id of this request in the log."},
            "guest_id": _UUID | {"description": "The guest that has this card or account already."},
            "merged_into": _UUID | {"description": "The guest with which this record was merged."},
            "reason": _TEXT | {"description": "Why exactly, for programs."},
            "reasons": {
                "type": "array",
                "items": _TEXT,
                "description": "Why the home library refuses, for programs.",
            },
            "hint": _TEXT
            | {
                "examples": [fault.value for fault in ScanFault],
                "description": "What the scanner probably did.",
            },
            "candidates": {"type": "array", "items": {"$ref": "#/components/schemas/ProblemCandidate"}},
            "referral": {"$ref": "#/components/schemas/ProblemReferral"},
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/ProblemFault"}},
        },
    },
    "ProblemCandidate": {
        "type": "object",
        "description": "A guest that may be the same person (`likely-duplicate`), or a library that the card"
        " may come from (`ambiguous-home-library`).",
        "properties": {
            "guest_id": _UUID,
            "same_home_library": {"type": "boolean"},
            "isil": _TEXT,
            "name": _TEXT,
            "organisation": _TEXT,
        },
    },
    "ProblemReferral": {
        "type": "object",
        "description": "With what the counter links the account first; `url` is null where it has no pages.",
        "required": ["handle", "expires_at", "url"],
        "properties": {
            "handle": _TEXT,
            "expires_at": _TEXT | {"format": "date-time"},
            "url": {"type": ["string", "null"], "format": "uri"},
        },
    },
    "ProblemFault": {
        "type": "object",
        "description": "A wrong part of the request, without its value.",
        "required": ["field", "message", "kind"],
        "properties": {"field": _TEXT, "message": _TEXT, "kind": _TEXT},
    },
}
"""What is in a problem. A test compares it with the members that problems of both services have."""
_EVERYWHERE = (
    ProblemType(401, "unauthenticated", "Log eerst in."),
    ProblemType(403, "wrong-scope", "U heeft geen toegang tot deze functie."),
    ProblemType(422, "malformed-request", "De aanvraag klopt niet: body.card_number."),
    *SHARED_PROBLEM_TYPES.values(),
)


def problem_responses(
    problem_types: ProblemTypes, *errors: type[Exception]
) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI `responses` of a route: these errors, and those that every route can have."""
    return answers([*_EVERYWHERE, *(problem_types[error] for error in errors)])


def answers(problem_types: Iterable[ProblemType]) -> dict[int | str, dict[str, Any]]:
    """Return problem types as OpenAPI responses, by status; every code is an example."""
    by_status: dict[int, dict[str, Any]] = {}
    for problem_type in problem_types:
        examples = by_status.setdefault(problem_type.status, {})
        examples[problem_type.code] = {"value": _example(problem_type)}
    return {
        status: {
            "description": ", ".join(f"`{code}`" for code in examples),
            "content": {MEDIA_TYPE: {"schema": PROBLEM, "examples": examples}},
        }
        for status, examples in by_status.items()
    }


def _example(problem_type: ProblemType) -> dict[str, object]:
    return {
        "type": f"urn:landelijk-lenen:problem:{problem_type.code}",
        "title": HTTPStatus(problem_type.status).phrase,
        "status": problem_type.status,
        "code": problem_type.code,
        "detail": problem_type.detail_nl,
        "instance": "urn:uuid:0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11",
    }
