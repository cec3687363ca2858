"""Problem answers in the OpenAPI description: every route shows the codes that it can answer with."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from shared.web.problem_handlers import SHARED_KINDS
from shared.web.problems import MEDIA_TYPE, ProblemKind, ProblemKinds

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
    ProblemKind(401, "unauthenticated", "Log eerst in."),
    ProblemKind(403, "wrong-scope", "U heeft geen toegang tot deze functie."),
    ProblemKind(422, "malformed-request", "De aanvraag klopt niet: body.card_number."),
    *SHARED_KINDS.values(),
)


def documented(kinds: ProblemKinds, *errors: type[Exception]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these errors, beside those of every route."""
    return answers([*_EVERYWHERE, *(kinds[error] for error in errors)])


def answers(kinds: Iterable[ProblemKind]) -> dict[int | str, dict[str, Any]]:
    """Problems as OpenAPI responses, by status; each code is an example."""
    by_status: dict[int, dict[str, Any]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, {})[kind.code] = {"value": _example(kind)}
    return {
        status: {
            "description": ", ".join(f"`{code}`" for code in examples),
            "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "examples": examples}},
        }
        for status, examples in by_status.items()
    }


def _example(kind: ProblemKind) -> dict[str, object]:
    return {
        "type": f"urn:landelijk-lenen:problem:{kind.code}",
        "title": HTTPStatus(kind.status).phrase,
        "status": kind.status,
        "code": kind.code,
        "detail": kind.detail_nl,
        "instance": "urn:uuid:0b7c9e5e-5f0a-4c55-9d0e-0d7d5f1f6a11",
    }
