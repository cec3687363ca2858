"""One question to one home library, step by step, with the wire: for an operator who looks for a fault."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from time import perf_counter
from typing import Literal

from registration.adapters.home_library.directory import Credentials
from registration.adapters.home_library.failures import ClosedWithoutAnswer, NoAnswer, NotLetIn, TimedOut
from registration.adapters.home_library.library import Library
from registration.adapters.home_library.probe_words import advice, cause, described, encrypted, masked
from registration.adapters.home_library.sip2_connection import Sip2Connection
from registration.adapters.home_library.sip2_messages import PatronReply
from registration.adapters.home_library.sip2_verdict import verdict_of
from registration.adapters.home_library.tls import tls_context
from registration.domain.verdict import NotFound, Refused, Valid

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
