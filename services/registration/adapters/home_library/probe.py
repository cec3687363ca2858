"""One question to one home library, step by step, with the wire: for an operator who looks for a fault."""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from time import perf_counter
from typing import Literal, cast

from registration.adapters.home_library import errors
from registration.adapters.home_library.errors import ClosedWithoutAnswer, NoAnswer, NotLetIn, TimedOut
from registration.adapters.home_library.settings import Credentials, Library, tls_context
from registration.adapters.home_library.sip2.connection import Sip2Connection
from registration.adapters.home_library.sip2.messages import LOGIN, PatronReply
from registration.adapters.home_library.sip2.verdict import verdict_of
from registration.domain.verdict import UNREADABLE, EndsOn, NotFound, Refused, Valid

_MASK = "***"
_SECRET_FIELDS = re.compile(r"(CN|CO)[^|]*")
_SUM = re.compile(r"AZ[0-9A-F]{4}$")

_ADVICE: tuple[tuple[type[errors.NoAnswer], str], ...] = (
    (
        errors.CertificateNotTrusted,
        "give the library's own authority as tls_ca_file, or the name in its certificate as tls_server_name",
    ),
    (
        errors.TlsFailed,
        "ask the library for its port with TLS; tls = false only where a tunnel protects the line",
    ),
    (
        errors.CannotConnect,
        "check host and port in the file of home libraries, and whether the library's firewall lets us in",
    ),
    (errors.LoginRefused, "check {credentials} and location with the library"),
    (errors.OffLine, "the library's own system is down: try again later, or call the library"),
    (
        errors.NotLetIn,
        "the library may admit known addresses only, or want TLS or a login: ask the library",
    ),
    (errors.ClosedWithoutAnswer, "try another card: if that goes well, tell the library about this one"),
    (errors.OutOfStep, "the library does not return our sequence numbers: set checksums = false"),
    (
        errors.BadChecksum,
        "if the library knows no checksums, set checksums = false; else the line is damaged",
    ),
    (
        errors.GarbledReply,
        "compare the reply above with encoding and checksums in the file of home libraries",
    ),
)


def described(verdict: Valid | Refused | NotFound, today: date) -> str:
    """A verdict in one line."""
    match verdict:
        case NotFound():
            return "not found: the library knows no such card"
        case Refused():
            return f"refused: {', '.join(verdict.reasons)}; {_ends(verdict.ends_on, today)}"
        case Valid() if verdict.has_ended(today):
            return f"expired: called valid, but {_ends(verdict.ends_on, today)}"
        case Valid(is_guest_subscription=True):
            return f"valid, but itself a guest subscription; {_ends(verdict.ends_on, today)}"
        case Valid():
            return f"valid; {_ends(verdict.ends_on, today)}"


def encrypted(agreed: ssl.SSLObject) -> str:
    """Which version, and whose certificate until when."""
    certificate = agreed.getpeercert()
    if not certificate:
        return f"{agreed.version()}, certificate not checked"
    named = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
    names = ", ".join(name for _, name in named)
    return f"{agreed.version()}, certificate of {names} until {certificate.get('notAfter')}"


def cause(failure: errors.NoAnswer) -> str:
    """Why there was no answer, in the words of the machine where it has any."""
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


def advice(failure: errors.NoAnswer, step: str, library: Library) -> str:
    """What to do about it."""
    if isinstance(failure, errors.TimedOut):
        if step == "ask":
            return f"silent for answer_seconds ({library.answer_seconds:g}): try another card, or call them"
        return f"nothing in connect_seconds ({library.connect_seconds:g}): a firewall may drop us"
    told = next(words for kind, words in _ADVICE if isinstance(failure, kind))
    credentials = f"{library.username_env}, {library.password_env}" if library.username_env else "credentials"
    return told.format(credentials=credentials)


def masked(data: bytes, encoding: str, credentials: Credentials | None) -> str:
    """A frame to look at: nothing that a terminal obeys, nothing that lets anybody in."""
    text = data.decode(encoding, errors="backslashreplace")
    if text.startswith(LOGIN):
        text = _SUM.sub(f"AZ{_MASK}", _SECRET_FIELDS.sub(rf"\1{_MASK}", text))
    if credentials is not None:
        for secret in (credentials.password, credentials.username):  # a library may repeat what it was sent
            text = text.replace(secret, _MASK)
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _ends(ends_on: EndsOn, today: date) -> str:
    if isinstance(ends_on, date):
        return f"{'ended' if ends_on < today else 'ends'} on {ends_on}"
    if ends_on is UNREADABLE:
        return "end date cannot be read: check expiry_field and date_format"
    return "no end known"


Step = Literal["connect", "TLS", "log in", "status", "ask", "verdict"]


@dataclass(frozen=True, slots=True)
class Frame:
    """What went out (>) or came in (<), the credentials masked; it may hold the patron's details."""

    direction: Literal[">", "<"]
    text: str


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """How one step went. `advice`: what to do when it failed."""

    step: Step
    ok: bool
    seconds: float
    found: str
    wire: tuple[Frame, ...] = ()
    advice: str = ""


@dataclass
class Probe:
    """Asks as the product asks, with the same time-outs, once and over a connection of its own.

    `verdict` is there when the last step went well.
    """

    library: Library
    credentials: Credentials | None
    card_number: str
    today: date
    verdict: Valid | Refused | NotFound | None = None
    _wire: list[Frame] = field(default_factory=list)
    _reply: PatronReply | None = None

    async def steps(self) -> AsyncIterator[ProbeStep]:
        """One after the other; a step that fails is the last one."""
        connection = Sip2Connection(self.library, tap=self._tapped)
        until = self._now() + self.library.connect_seconds
        try:
            for step, work in self._plan(connection, until):
                limit = self._now() + self.library.answer_seconds if step == "ask" else until
                taken = await self._take(step, work, limit)
                yield taken
                if not taken.ok:
                    return
        finally:
            connection.close()

    def _plan(
        self, connection: Sip2Connection, until: float
    ) -> list[tuple[Step, Callable[[], Awaitable[str]]]]:
        library, credentials = self.library, self.credentials

        async def connect() -> str:
            await connection.open()
            return f"{library.host}, port {library.port}"

        async def secure() -> str:
            context = tls_context(library.tls_ca_file, verify=library.tls_verify)
            return encrypted(await connection.secure(context))

        async def log_in() -> str:
            if credentials is None:
                return "the file names no credentials"
            await connection.log_in(credentials, until)
            return "let in"

        async def ask_status() -> str:
            await connection.ask_status(until)
            return "on line"

        async def ask() -> str:
            self._reply = await connection.patron(self.card_number, self._now() + library.answer_seconds)
            answered = self._reply.value("AA")
            return (
                "answered" if answered == self.card_number else f"answered about card {answered or '(none)'}"
            )

        async def judge() -> str:
            assert self._reply is not None  # noqa: S101 - the step before gave it
            self.verdict = verdict_of(self._reply, library, self.today)
            return described(self.verdict, self.today)

        plan: list[tuple[Step, Callable[[], Awaitable[str]]]] = [("connect", connect)]
        if library.uses_tls:
            plan.append(("TLS", secure))
        return [*plan, ("log in", log_in), ("status", ask_status), ("ask", ask), ("verdict", judge)]

    async def _take(self, step: Step, work: Callable[[], Awaitable[str]], until: float) -> ProbeStep:
        self._wire.clear()
        began = perf_counter()
        failure: NoAnswer | None = None
        try:
            async with asyncio.timeout_at(until):
                found = await work()
        except TimeoutError:
            failure = TimedOut()
        except ClosedWithoutAnswer as closed:
            failure = closed if step == "ask" else NotLetIn()
        except NoAnswer as no_answer:
            failure = no_answer
        seconds = perf_counter() - began
        if failure is None:
            return ProbeStep(step, True, seconds, found, tuple(self._wire))
        return ProbeStep(
            step, False, seconds, cause(failure), tuple(self._wire), advice(failure, step, self.library)
        )

    def _tapped(self, direction: Literal[">", "<"], data: bytes) -> None:
        self._wire.append(Frame(direction, masked(data, self.library.encoding, self.credentials)))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
