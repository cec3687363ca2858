"""One home library that speaks NCIP 2.02, over HTTP or over TCP (R4)."""

import asyncio
import base64
import ssl
from collections.abc import Callable
from datetime import date
from functools import partial

from registration.adapters.home_library.errors import (
    ClosedWithoutAnswer,
    GarbledReply,
    NotLetIn,
    NotUnderstood,
    TimedOut,
)
from registration.adapters.home_library.http import HttpLine
from registration.adapters.home_library.lines import KeptConnections, Reply, Turns
from registration.adapters.home_library.ncip.messages import LONGEST_REPLY, XmlFrames, lookup_user
from registration.adapters.home_library.ncip.reply import Asked, read_reply
from registration.adapters.home_library.settings import Credentials, Library
from registration.adapters.home_library.wire import Tap, Wire


class NcipOverHttp:
    """Posts each question; a reply belongs to its request."""

    def __init__(
        self, library: Library, credentials: Credentials | None, line: HttpLine, today: Callable[[], date]
    ) -> None:
        self._library = library
        self._credentials = credentials
        self._line = line
        self._today = today
        self._turns = Turns(library)
        self._headers = {"Content-Type": "application/xml; charset=utf-8", "Accept": "application/xml"}
        if credentials is not None and library.credentials_in == "http":
            pair = f"{credentials.username}:{credentials.password}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    @property
    def connections(self) -> int:
        """How many questions the library takes at once."""
        return self._library.connections

    async def ask(self, card_number: str) -> Reply:
        """Return the library's verdict about a card. Raises NoAnswer."""
        question = lookup_user(self._library, self._credentials, card_number)

        async def once(until: float, _alone: bool) -> Reply:
            reply = await self._line.send(
                "POST", "", until, largest=LONGEST_REPLY, headers=self._headers, content=question
            )
            return read_reply(reply, self._library, Asked(card_number, self._today()))

        return await self._turns.ask(once)

    def close(self) -> None:
        """Close the connections."""
        self._line.close()


class NcipConnection:
    """One TCP connection. Close it after any error. `until` is a moment of the event loop's clock."""

    def __init__(self, library: Library, credentials: Credentials | None, tap: Tap | None = None) -> None:
        self._library = library
        self._credentials = credentials
        self._wire = Wire(XmlFrames(), LONGEST_REPLY, tap)
        self.idle_since = 0.0
        self.questions = 0

    async def open(self) -> None:
        """Connect, without a time-out. Raises CannotConnect."""
        await self._wire.connect(self._library.host, self._library.port)

    async def secure(self, context: ssl.SSLContext) -> ssl.SSLObject:
        """Start TLS. Return what was negotiated. Raises CertificateNotTrusted, TlsFailed."""
        return await self._wire.secure(context, self._library.tls_server_name or self._library.host)

    async def patron(self, card_number: str, today: date, until: float, *, alone: bool) -> Reply:
        """Ask about one card. Raises NoAnswer. `alone`: this is the only question over this connection."""
        self.questions += 1
        self._wire.send(lookup_user(self._library, self._credentials, card_number))
        time_out = asyncio.get_running_loop().time() + self._library.answer_seconds
        reply = await self._wire.receive(min(until, time_out))
        return read_reply(reply, self._library, Asked(card_number, today, alone))

    @property
    def has_half_a_reply(self) -> bool:
        """Whether a reply began to arrive and has no end."""
        return self._wire.has_begun

    @property
    def is_idle(self) -> bool:
        """Whether it can take a question."""
        return self._wire.is_quiet

    def close(self) -> None:
        """Close it at once."""
        self._wire.close()


class NcipOverTcp:
    """Asks over a few kept connections, each with one question at a time. `context`: None: no TLS."""

    def __init__(
        self,
        library: Library,
        credentials: Credentials | None,
        context: ssl.SSLContext | None,
        today: Callable[[], date],
    ) -> None:
        self._library = library
        self._today = today
        self._turns = Turns(library)
        self._kept = KeptConnections(library, partial(_connect, library, credentials, context))

    @property
    def connections(self) -> int:
        """How many questions the library takes at once."""
        return self._library.connections

    async def ask(self, card_number: str) -> Reply:
        """Return the library's verdict about a card. Raises NoAnswer."""

        async def question(connection: NcipConnection, until: float, alone: bool) -> Reply:
            alone = alone or not connection.questions
            return await connection.patron(card_number, self._today(), until, alone=alone)

        async def once(until: float, alone: bool) -> Reply:
            return await self._kept.ask(question, until, alone)

        return await self._turns.ask(once)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._kept.close()


async def _connect(
    library: Library, credentials: Credentials | None, context: ssl.SSLContext | None, until: float
) -> NcipConnection:
    connection = NcipConnection(library, credentials)
    until = min(until, asyncio.get_running_loop().time() + library.connect_seconds)
    try:
        async with asyncio.timeout_at(until):
            await connection.open()
            if context is not None:
                await connection.secure(context)
    except BaseException as failure:
        connection.close()
        if isinstance(failure, TimeoutError):
            raise TimedOut from None
        # No card was asked about yet, so the fault is not in a card.
        if isinstance(failure, ClosedWithoutAnswer):
            raise NotLetIn from None
        if isinstance(failure, GarbledReply):
            raise NotUnderstood from failure
        raise
    return connection
