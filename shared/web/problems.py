"""Refusals as RFC 9457 problems: a code for programs, a sentence for people, never a stack trace."""

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
    """A refusal that is known at once as a problem, without a domain error behind it.

    `extra` holds members beside RFC 9457's own; nothing personal belongs in it.
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
    """An error that has nothing to add to its sentence."""
    return {}


@dataclass(frozen=True, slots=True)
class ProblemType:
    """How one exception class is told to the outside world."""

    status: int
    code: str
    detail_nl: str
    members: Callable[[Any], Mapping[str, object]] = field(default=no_extra)
    retry_after: int | None = None  # seconds

    def of(self, error: Exception) -> Problem:
        """This very error as a problem."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        english = english_sentence(type(error))
        return Problem(
            self.status, self.code, self.detail_nl, english, extra=self.members(error), headers=headers
        )


ProblemTypes = Mapping[type[Exception], ProblemType]


def response(problem: Problem, request: Request) -> JSONResponse:
    """The problem as an HTTP answer in the language that was asked for."""
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
    """The id under which this request is found in the log (set by `RequestContext`; nil without it)."""
    found = request.scope.get("state", {}).get("correlation_id")
    return found if isinstance(found, UUID) else UUID(int=0)


def wants_english(request: Request) -> bool:
    """Whether `Accept-Language` ranks English above Dutch; Dutch is the language of the house."""
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
