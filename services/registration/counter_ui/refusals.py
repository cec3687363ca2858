"""A refusal beside the form that it came from: the sentence, the reasons, and what the clerk can do next."""

from dataclasses import dataclass

from fastapi import Request

from registration.counter_ui.next_steps import next_step
from registration.counter_ui.pages import problem_of
from registration.counter_ui.rendering import sayer, sentence_of
from registration.counter_ui.words import reason_of
from registration.domain.errors import GuestRefused


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
    say = sayer(request)
    reasons = error.reasons if isinstance(error, GuestRefused) else ()
    return Refusal(
        code=problem.code,
        status=problem.status,
        kind="warning" if problem.status == 503 else "error",
        sentence=sentence_of(request, problem),
        reasons=tuple(reason_of(str(reason), say) for reason in reasons),
        next_step=next_step(problem.code, say),
    )
