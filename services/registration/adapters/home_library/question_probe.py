"""A probe of a home library that is asked with one question and one reply: NCIP and Koha."""

import asyncio
import re
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Literal
from xml.sax.saxutils import escape

from registration.adapters.home_library.errors import GarbledReply, NoAnswer
from registration.adapters.home_library.hints import Seen, advice_about_question, odd_text
from registration.adapters.home_library.http import HttpLine
from registration.adapters.home_library.koha.client import KohaLibrary
from registration.adapters.home_library.ncip.client import NcipOverHttp, NcipOverTcp
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
from registration.domain.verdict import NotFound, Refused, Valid
from shared.kernel.text import visible
from shared.platform.http_client import HttpClient

_SECRETS = re.compile(
    r"((?:^|\n)authorization: ).*?(?=\n|$)|(client_(?:id|secret)=)[^&\s]*"
    r'|("access_token"\s*:\s*")[^"]*|(FromSystem(?:Id|Authentication)[^>]*>)[^<]*',
    re.IGNORECASE,
)


def masked(data: bytes, credentials: Credentials | None) -> str:
    """Return what was on the wire as text: credentials are masked, and control characters are escaped."""
    text = data.decode("utf-8", errors="backslashreplace")
    text = _SECRETS.sub(lambda found: f"{next(filter(None, found.groups()), '')}{MASK}", text)
    if credentials is not None:
        for secret in (credentials.password, credentials.username):  # a library may repeat what we sent
            for written in {secret, escape(secret), urllib.parse.quote_plus(secret)}:
                text = text.replace(written, MASK)
    return visible(text)


Question = Callable[[], Awaitable[Valid | Refused | NotFound]]


@dataclass
class QuestionProbe:
    """See `probe.Probe`. `http_client_of` makes the client for a library that is asked over HTTP."""

    library: Library
    credentials: Credentials | None
    card_number: str
    today: date
    http_client_of: Callable[[Library], HttpClient]
    verdict: Valid | Refused | NotFound | None = None
    _wire: list[tuple[Literal[">", "<"], bytes]] = field(default_factory=list)
    _unreadable: NoAnswer | None = None
    _reply: bytes = b""
    _questions: int = 0

    async def steps(self) -> AsyncIterator[ProbeStep]:
        """See `probe.Probe.steps`."""
        library = self.library
        connection = NcipOverTcp(library, self.credentials, self._tapped)
        http = None if library.transport == "tcp" else self.http_client_of(library)
        line = None if http is None else HttpLine(library, http, self._tapped)
        until = self._now() + library.connect_seconds
        try:
            for step, work in self._plan(connection, line):
                limit = until if step in {"connect", "TLS"} else self._now() + self._patience(step)
                taken = await self._take(step, work, limit, connection)
                yield taken
                if not taken.ok and step != "again":
                    return
        finally:
            connection.close()
            if http is not None:
                await http.aclose()

    def _patience(self, step: Step) -> float:
        return self.library.answer_seconds * (MOST_QUESTIONS if step == "again" else 1)

    def _plan(self, connection: NcipOverTcp, line: HttpLine | None) -> list[tuple[Step, Work]]:
        library = self.library
        # Over HTTP the first two steps have a connection of their own: later ones are parts of a request.
        first = connection if line is None else NcipOverTcp(library, None)

        async def connect() -> str:
            await first.open()
            if line is not None and not library.uses_tls:
                first.close()
            return f"{library.host}, port {library.port}"

        async def secure() -> str:
            context = tls_context(library.tls_ca_file, verify=library.tls_verify)
            try:
                return encrypted(await first.secure(context))
            finally:
                if line is not None:
                    first.close()

        plan: list[tuple[Step, Work]] = [("connect", connect)]
        if library.uses_tls:
            plan.append(("TLS", secure))
        plan += self._questions_over(connection) if line is None else self._questions_in(line)
        return [*plan, ("verdict", self._judge)]

    def _questions_over(self, connection: NcipOverTcp) -> list[tuple[Step, Work]]:
        async def question() -> Valid | Refused | NotFound:
            until = self._now() + self.library.answer_seconds
            return await connection.patron(self.card_number, self.today, until, alone=True)

        async def ask() -> str:
            return await self._ask(question)

        most = min(MOST_QUESTIONS, self.library.questions_per_connection or MOST_QUESTIONS)

        async def ask_again() -> str:
            while self._questions < most and self._unreadable is None:
                await self._ask(question)
            return f"replied to {self._questions} questions over one connection"

        return [("ask", ask), *([("again", ask_again)] if most > 1 else [])]  # type: ignore[list-item]

    def _questions_in(self, line: HttpLine) -> list[tuple[Step, Work]]:
        if self.library.protocol == "ncip":
            ncip = NcipOverHttp(self.library, self.credentials, line, lambda: self.today)
            return [("ask", lambda: self._ask(lambda: ncip.ask(self.card_number)))]
        assert self.credentials is not None  # noqa: S101 - the settings of Koha need them
        koha = KohaLibrary(self.library, self.credentials, line, lambda: self.today)

        async def log_in() -> str:
            await koha.log_in(self._now() + self.library.answer_seconds)
            return "received a token"

        return [("log in", log_in), ("ask", lambda: self._ask(lambda: koha.ask(self.card_number)))]

    async def _ask(self, question: Question) -> str:
        """Ask. A reply that came whole and says nothing is a fault of the step *verdict*."""
        try:
            self.verdict = await question()
        except GarbledReply as unreadable:
            if not any(direction == "<" for direction, _ in self._wire):
                raise
            self._unreadable = unreadable
        self._questions += 1
        self._reply = self._last_reply()
        number = getattr(self.verdict, "canonical_card_number", None) or self.card_number
        return "replied" if number == self.card_number else f"replied about card {number}"

    async def _judge(self) -> str:
        if self._unreadable is not None:
            raise self._unreadable
        assert self.verdict is not None  # noqa: S101 - the step `ask` set it
        return described(self.verdict, self.today)

    async def _take(self, step: Step, work: Work, until: float, connection: NcipOverTcp) -> ProbeStep:
        self._wire.clear()
        found, failure, seconds = await timed(step, work, until)
        frames = tuple(Frame(direction, masked(data, self.credentials)) for direction, data in self._wire)
        if failure is None:
            warning = odd_text(self._reply) if step == "verdict" else ""
            return ProbeStep(step, True, seconds, found, frames, warning)
        reply = self._reply or self._last_reply()
        seen = Seen((), (reply,) if reply else (), connection.has_half_a_reply, self._questions)
        advice = advice_about_question(failure, step, self.library, seen)
        return ProbeStep(step, False, seconds, cause(failure), frames, advice)

    def _last_reply(self) -> bytes:
        return next((data for direction, data in reversed(self._wire) if direction == "<"), b"")

    def _tapped(self, direction: Literal[">", "<"], data: bytes) -> None:
        self._wire.append((direction, data))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
