"""A probe of a home library that speaks SIP2."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Literal

from registration.adapters.home_library.errors import (
    BadChecksum,
    ClosedWithoutAnswer,
    GarbledReply,
    NoAnswer,
    NotLetIn,
    OutOfStep,
    TimedOut,
)
from registration.adapters.home_library.hints import FIRST_ONLY, Seen, advice, odd_name
from registration.adapters.home_library.probe import (
    MASK,
    MOST_QUESTIONS,
    Frame,
    ProbeStep,
    Step,
    Work,
    cause,
    described,
    encrypted,
    timed,
)
from registration.adapters.home_library.settings import Credentials, Library, tls_context
from registration.adapters.home_library.sip2.connection import Sip2Connection
from registration.adapters.home_library.sip2.messages import LOGIN
from registration.adapters.home_library.tcp import connected
from registration.domain.verdict import NotFound, Refused, Valid
from shared.kernel.text import visible

_SECRET_FIELDS = re.compile(r"(CN|CO)[^|]*")
_SUM = re.compile(r"AZ[0-9A-F]{4}$")


def masked(data: bytes, encoding: str, credentials: Credentials | None) -> str:
    """Return a frame as text: credentials are masked, and control characters are escaped."""
    text = data.decode(encoding, errors="backslashreplace")
    if text.startswith(LOGIN):
        text = _SUM.sub(f"AZ{MASK}", _SECRET_FIELDS.sub(rf"\1{MASK}", text))
    if credentials is not None:
        for secret in (credentials.password, credentials.username):  # a library may repeat what we sent
            text = text.replace(secret, MASK)
    return visible(text)


@dataclass
class Sip2Probe:
    """See `probe.Probe`."""

    library: Library
    credentials: Credentials | None
    card_number: str
    today: date
    verdict: Valid | Refused | NotFound | None = None
    _wire: list[tuple[Literal[">", "<"], bytes]] = field(default_factory=list)
    _unreadable: GarbledReply | None = None
    _reply: bytes = b""
    _questions: int = 0

    async def steps(self) -> AsyncIterator[ProbeStep]:
        """Take the steps one by one; one that fails is the last, except *again*: there is a verdict then."""
        connection = Sip2Connection(self.library, self.credentials, self._tapped)
        until = self._now() + self.library.connect_seconds
        try:
            for step, work in self._plan(connection, until):
                limit = until
                if step in {"ask", "again"}:
                    limit = self._now() + self.library.answer_seconds * MOST_QUESTIONS
                taken = await self._take(step, work, limit, connection)
                yield taken
                if not taken.ok and step != "again":
                    return
        finally:
            connection.close()

    def _plan(self, connection: Sip2Connection, until: float) -> list[tuple[Step, Work]]:
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
            await connection.log_in(until)
            return "logged in"

        async def ask_status() -> str:
            await connection.ask_status(until)
            return "on-line"

        plan: list[tuple[Step, Work]] = [("connect", connect)]
        if library.uses_tls:
            plan.append(("TLS", secure))
        plan.append(("log in", log_in))
        if library.questions_per_connection is None:
            plan.append(("status", ask_status))
        plan.append(("ask", partial(self._ask, connection)))
        most = min(MOST_QUESTIONS, library.questions_per_connection or MOST_QUESTIONS)
        if most > 1:
            plan.append(("again", partial(self._ask_again, connection, most)))
        return [*plan, ("verdict", self._judge)]

    async def _judge(self) -> str:
        if self._unreadable is not None:
            raise self._unreadable
        assert self.verdict is not None  # noqa: S101 - the step `ask` set it
        return described(self.verdict, self.today)

    async def _ask_again(self, connection: Sip2Connection, most: int) -> str:
        """Ask the same over the same connection, unless the first reply cannot be read."""
        while self._questions < most and self._unreadable is None:
            await self._ask(connection)
        return f"replied to {self._questions} questions over one connection"

    async def _ask(self, connection: Sip2Connection) -> str:
        """Ask. A reply that came whole and says nothing is a fault of the next step."""
        until = self._now() + self.library.answer_seconds
        try:
            self.verdict = await connection.patron(self.card_number, self.today, until, alone=True)
        except (BadChecksum, OutOfStep):
            raise
        except GarbledReply as unreadable:
            self._unreadable = unreadable
        self._questions += 1
        self._reply = self._seen(connection).last
        number = getattr(self.verdict, "canonical_card_number", None) or self.card_number
        return "replied" if number == self.card_number else f"replied about card {number}"

    async def _take(self, step: Step, work: Work, until: float, connection: Sip2Connection) -> ProbeStep:
        self._wire.clear()
        found, failure, seconds = await timed(step, work, until)
        frames = tuple(
            Frame(direction, masked(data, self.library.encoding, self.credentials))
            for direction, data in self._wire
        )
        if failure is not None:
            what_to_do = advice(failure, step, self.library, self._seen(connection))
            if isinstance(
                failure, (TimedOut, ClosedWithoutAnswer, NotLetIn)
            ) and await self._may_be_asked_alone(step):
                what_to_do = FIRST_ONLY
            return ProbeStep(step, False, seconds, cause(failure), frames, what_to_do)
        warning = odd_name(self._reply, self.library) if step == "verdict" else ""
        return ProbeStep(step, True, seconds, found, frames, warning)

    async def _may_be_asked_alone(self, step: Step) -> bool:
        """Return whether the library replies when it was not asked for its status before."""
        if step not in {"status", "ask"} or self.library.questions_per_connection is not None:
            return False
        library = self.library.model_copy(update={"questions_per_connection": 1})
        context = tls_context(library.tls_ca_file, verify=library.tls_verify) if library.uses_tls else None
        connection = Sip2Connection(library, self.credentials)
        until = self._now() + library.connect_seconds
        try:
            await connected(connection, library, context, until)
            await connection.patron(self.card_number, self.today, until + library.answer_seconds)
        except NoAnswer as failure:
            return isinstance(failure, GarbledReply)
        finally:
            connection.close()
        return True

    def _seen(self, connection: Sip2Connection) -> Seen:
        received = tuple(data for direction, data in self._wire if direction == "<")
        return Seen(
            sent=tuple(data for direction, data in self._wire if direction == ">"),
            received=received or tuple(filter(None, [self._reply])),
            half_a_reply=connection.has_half_a_reply,
            questions=self._questions,
        )

    def _tapped(self, direction: Literal[">", "<"], data: bytes) -> None:
        self._wire.append((direction, data))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
