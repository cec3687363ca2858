"""Problems (RFC 9457): how errors are shown over HTTP, with a code for programs and a sentence for people."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi import Request
from fastapi.responses import JSONResponse

from shared.kernel.errors import english_sentence

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error in the form that callers see. Raise it directly when there is no exception class for it.

    `extra` holds members in addition to those of RFC 9457. It must not hold personal data.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail_nl: str,
        detail_en: str,
        *,
        extra: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail_nl = detail_nl
        self.detail_en = detail_en
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


def no_extra(_error: Any) -> Mapping[str, object]:
    """Return no members: the default of `ProblemType.members`."""
    return {}


@dataclass(frozen=True, slots=True)
class ProblemType:
    """How one exception class is shown to callers. `members` returns the `extra` of an error.

    `retry_after`: seconds, or a function that returns those of an error.
    """

    status: int
    code: str
    detail_nl: str
    members: Callable[[Any], Mapping[str, object]] = field(default=no_extra)
    retry_after: int | Callable[[Any], int] | None = None

    def of(self, error: Exception) -> Problem:
        """Return the problem of one error; the docstring of its class is the English sentence."""
        seconds = self.retry_after(error) if callable(self.retry_after) else self.retry_after
        headers = {} if seconds is None else {"Retry-After": str(seconds)}
        english = english_sentence(type(error))
        return Problem(
            self.status, self.code, self.detail_nl, english, extra=self.members(error), headers=headers
        )


ProblemTypes = Mapping[type[Exception], ProblemType]


def response(problem: Problem, request: Request) -> JSONResponse:
    """Return the HTTP response for a problem, in the language that the request asks for."""
    body: dict[str, object] = {
        "type": f"urn:landelijk-lenen:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail_en if wants_english(request) else problem.detail_nl,
        "instance": correlation_id(request).urn,
    }
    headers = {"Content-Language": "en" if wants_english(request) else "nl", **problem.headers}
    return JSONResponse({**problem.extra, **body}, problem.status, headers, MEDIA_TYPE)


def correlation_id(request: Request) -> UUID:
    """Return the id that all log lines of this request carry. Without `RequestContext` it is the nil UUID."""
    found = request.scope.get("state", {}).get("correlation_id")
    return found if isinstance(found, UUID) else UUID(int=0)


def wants_english(request: Request) -> bool:
    """Return whether `Accept-Language` ranks English above Dutch. The default is Dutch."""
    ranks = {"nl": 0.0, "en": 0.0}
    for choice in request.headers.get("accept-language", "").split(","):
        tag, _, parameter = choice.strip().partition(";")
        language = tag.split("-")[0].strip().lower()
        if language in ranks:
            ranks[language] = max(ranks[language], _quality(parameter))
    return ranks["en"] > ranks["nl"]


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def internal_error() -> Problem:
    """Return the problem of an unexpected error. Only the log holds the cause."""
    return Problem(
        500,
        "internal-error",
        "Er ging iets mis. Dit is vastgelegd. Noem het kenmerk als u het meldt.",
        "Something went wrong and was logged. Mention the reference (instance) when you report it.",
    )
