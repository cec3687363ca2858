"""One question to one home library, step by step: for an operator who looks for a fault."""

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
from registration.adapters.home_library.sip2.client import verdict_of
from registration.adapters.home_library.sip2.connection import Sip2Connection
from registration.adapters.home_library.sip2.messages import LOGIN, PatronReply
from registration.domain.verdict import UNREADABLE, EndsOn, NotFound, Refused, Valid
from shared.kernel.text import visible

_MASK = "***"
_SECRET_FIELDS = re.compile(r"(CN|CO)[^|]*")
_SUM = re.compile(r"AZ[0-9A-F]{4}$")

_ADVICE: tuple[tuple[type[errors.NoAnswer], str], ...] = (
    (
        errors.CertificateNotTrusted,
        "set tls_ca_file to the library's CA certificate, or tls_server_name to the name in its certificate",
    ),
    (
        errors.TlsFailed,
        "ask the library for its TLS port; set tls = false only if a tunnel protects the connection",
    ),
    (
        errors.CannotConnect,
        "check host and port in the file of home libraries, and whether the library's firewall blocks us",
    ),
    (errors.LoginRefused, "check {credentials} and location with the library"),
    (errors.OffLine, "the library's own system is down: try again later, or call the library"),
    (
        errors.NotLetIn,
        "the library may accept known addresses only, or require TLS or a login: ask the library",
    ),
    (errors.ClosedWithoutAnswer, "try another card: if that works, report this card to the library"),
    (errors.OutOfStep, "the library does not return our sequence numbers: set checksums = false"),
    (
        errors.BadChecksum,
        "if the library uses no checksums, set checksums = false; else the connection damages data",
    ),
    (
        errors.GarbledReply,
        "compare the reply above with encoding and checksums in the file of home libraries",
    ),
)


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


def advice(failure: errors.NoAnswer, step: str, library: Library) -> str:
    """Return what an operator can do about a failure."""
    if isinstance(failure, errors.TimedOut):
        if step == "ask":
            seconds = f"{library.answer_seconds:g}"
            return f"no reply in answer_seconds ({seconds}): try another card, or call the library"
        return f"no reply in connect_seconds ({library.connect_seconds:g}): a firewall may block us"
    text = next(hint for kind, hint in _ADVICE if isinstance(failure, kind))
    credentials = f"{library.username_env}, {library.password_env}" if library.username_env else "credentials"
    return text.format(credentials=credentials)


def masked(data: bytes, encoding: str, credentials: Credentials | None) -> str:
    """Return a frame as text: credentials are masked, and control characters are escaped."""
    text = data.decode(encoding, errors="backslashreplace")
    if text.startswith(LOGIN):
        text = _SUM.sub(f"AZ{_MASK}", _SECRET_FIELDS.sub(rf"\1{_MASK}", text))
    if credentials is not None:
        for secret in (credentials.password, credentials.username):  # a library may repeat what we sent
            text = text.replace(secret, _MASK)
    return visible(text)


def _ends(ends_on: EndsOn, today: date) -> str:
    if isinstance(ends_on, date):
        return f"{'ended' if ends_on < today else 'ends'} on {ends_on}"
    if ends_on is UNREADABLE:
        return "end date cannot be read: check expiry_field and date_format"
    return "no end date known"


Step = Literal["connect", "TLS", "log in", "status", "ask", "verdict"]


@dataclass(frozen=True, slots=True)
class Frame:
    """What we sent (>) or received (<), credentials masked; it may hold the patron's details."""

    direction: Literal[">", "<"]
    text: str


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """The result of one step. `advice`: what to do when it failed."""

    step: Step
    ok: bool
    seconds: float
    found: str
    wire: tuple[Frame, ...] = ()
    advice: str = ""


@dataclass
class Probe:
    """Asks once, over its own connection, with the time-outs that the service uses.

    `verdict` is set when the last step succeeded.
    """

    library: Library
    credentials: Credentials | None
    card_number: str
    today: date
    verdict: Valid | Refused | NotFound | None = None
    _wire: list[Frame] = field(default_factory=list)
    _reply: PatronReply | None = None

    async def steps(self) -> AsyncIterator[ProbeStep]:
        """Take the steps one by one; a step that fails is the last one."""
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
                return "no credentials in the file of home libraries"
            await connection.log_in(credentials, until)
            return "logged in"

        async def ask_status() -> str:
            await connection.ask_status(until)
            return "on-line"

        async def ask() -> str:
            self._reply = await connection.patron(self.card_number, self._now() + library.answer_seconds)
            number = self._reply.value("AA")
            return "replied" if number == self.card_number else f"replied about card {number or '(none)'}"

        async def judge() -> str:
            assert self._reply is not None  # noqa: S101 - the step before set it
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
