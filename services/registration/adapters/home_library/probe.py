"""A question to one home library, step by step: for an operator who looks for a fault."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from time import perf_counter
from typing import Literal, Protocol, cast

from registration.adapters.home_library import errors
from registration.adapters.home_library.errors import ClosedWithoutAnswer, NoAnswer, NotLetIn, TimedOut
from registration.domain.verdict import UNREADABLE, EndsOn, NotFound, Refused, Valid


def described(verdict: Valid | Refused | NotFound, today: date) -> str:
    """Return a verdict in one line. The command line shows a line that starts with `valid;` in green."""
    match verdict:
        case NotFound():
            return "not found: the library does not know this card"
        case Refused():
            return f"refused: {', '.join(verdict.reasons)}; {_ends(verdict.ends_on, today)}"
        case Valid() if verdict.has_ended(today):
            return f"expired: reported as valid, but {_ends(verdict.ends_on, today)}"
        case Valid(is_guest_subscription=True):
            return (
                f"valid, but the subscription is itself a guest subscription; {_ends(verdict.ends_on, today)}"
            )
        case Valid():
            return f"valid; {_ends(verdict.ends_on, today)}"


def encrypted(agreed: ssl.SSLObject) -> str:
    """Return the TLS version, and the names and last day of the certificate."""
    certificate = agreed.getpeercert()
    if not certificate:
        return f"{agreed.version()}, certificate not checked"
    named = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    names = ", ".join(name for _, name in named)
    return f"{agreed.version()}, certificate of {names} until {certificate.get('notAfter')}"


def cause(failure: errors.NoAnswer) -> str:
    """Return why there was no reply, with the error text of the operating system or of TLS, if any."""
    error = failure.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{failure.reason}: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"{failure.reason}: {error.reason or error}"
    if isinstance(error, OSError):
        if error.errno is not None and error.errno > 0:
            return f"{failure.reason}: {os.strerror(error.errno)}"
        return f"{failure.reason}: {error.strerror or error}"
    return failure.reason


def _ends(ends_on: EndsOn, today: date) -> str:
    if isinstance(ends_on, date):
        return f"{'ended' if ends_on < today else 'ends'} on {ends_on}"
    if ends_on is UNREADABLE:
        return "end date cannot be read: check expiry_field and date_format"
    return "no end date known"


Step = Literal["connect", "TLS", "log in", "status", "ask", "again", "verdict"]
MASK = "***"
"""In the place of credentials."""
MOST_QUESTIONS = 5
"""The same question is asked so often over one connection: some libraries reply to the first ones only."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What we sent (>) or received (<), credentials masked; it may hold the patron's details."""

    direction: Literal[">", "<"]
    text: str


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """The result of one step. `advice`: what to do when it failed, or when the name looks odd."""

    step: Step
    ok: bool
    seconds: float
    found: str
    wire: tuple[Frame, ...] = ()
    advice: str = ""


class Probe(Protocol):
    """Asks over its own connection, with the time-outs that the service uses.

    `verdict` is set when the step of that name succeeded.
    """

    verdict: Valid | Refused | NotFound | None

    def steps(self) -> AsyncIterator[ProbeStep]:
        """Take the steps one by one; one that fails is the last, except *again*: there is a verdict then."""


Work = Callable[[], Awaitable[str]]
"""Takes a step, and returns what it found. Raises NoAnswer."""


async def timed(step: Step, work: Work, until: float) -> tuple[str, NoAnswer | None, float]:
    """Take a step. Return what it found, why it failed, and its seconds."""
    began = perf_counter()
    found, failure = "", cast("NoAnswer | None", None)
    try:
        async with asyncio.timeout_at(until):
            found = await work()
    except TimeoutError:
        failure = TimedOut()
    except ClosedWithoutAnswer as closed:
        failure = closed if step in {"ask", "again"} else NotLetIn()
    except NoAnswer as no_answer:
        failure = no_answer
    return found, failure, perf_counter() - began
