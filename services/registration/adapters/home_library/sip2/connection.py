"""One SIP2 connection, logged in, one question at a time; and those that wait for the next question."""

import asyncio
import ssl
from time import time

from registration.adapters.home_library.errors import (
    BadChecksum,
    ClosedWithoutAnswer,
    GarbledReply,
    NotLetIn,
    OutOfStep,
    TimedOut,
)
from registration.adapters.home_library.settings import Credentials, Library
from registration.adapters.home_library.sip2 import messages
from registration.adapters.home_library.sip2.dates import timestamp
from registration.adapters.home_library.sip2.framing import Message, Tap, Wire, frame, open_frame

_ATTEMPTS = 3
"""How often one message is sent when it, or its answer, arrives damaged."""


class Sip2Connection:
    """In this order: `open`, `secure` if the library uses TLS, `log_in`, `ask_status`, then `patron` often.

    After any error it is of no more use: close it. Each `until` is a moment of the loop's time.
    """

    def __init__(self, library: Library, tap: Tap | None = None) -> None:
        self._library = library
        self._wire = Wire(tap)
        self._sequence = -1
        self._other_sends_checksums = False
        self.idle_since = 0.0

    async def open(self) -> None:
        """Raises CannotConnect; waits for ever otherwise."""
        await self._wire.connect(self._library.host, self._library.port)

    async def secure(self, context: ssl.SSLContext) -> ssl.SSLObject:
        """Gives what was agreed. Raises CertificateNotTrusted, TlsFailed."""
        return await self._wire.secure(context, self._library.tls_server_name or self._library.host)

    async def log_in(self, credentials: Credentials, until: float) -> None:
        """Raises LoginRefused, NoAnswer."""
        request = messages.login_request(credentials.username, credentials.password, self._library.location)
        answer = await self._exchange(request, messages.LOGIN_REPLY, until)
        messages.read_login_reply(answer.text)

    async def ask_status(self, until: float) -> None:
        """Raises OffLine, NoAnswer."""
        status = await self._exchange(messages.status_request(), messages.STATUS_REPLY, until)
        messages.read_status_reply(status.text)

    async def patron(self, card_number: str, until: float) -> messages.PatronReply:
        """Ask about one card. Raises NoAnswer, above all ClosedWithoutAnswer and TimedOut."""
        request = messages.patron_request(card_number, self._library.institution, timestamp(int(time())))
        answer = await self._exchange(request, messages.PATRON_REPLY, until)
        in_step = self._library.checksums and answer.sequence is not None
        return messages.read_patron_reply(answer.text, in_step=in_step)

    @property
    def is_idle(self) -> bool:
        """Whether it can carry a question: still open, and nothing came that nobody asked for."""
        return self._wire.is_quiet

    def close(self) -> None:
        """Drop it at once."""
        self._wire.close()

    async def _exchange(self, body: str, answer: str, until: float) -> Message:
        """Send until an undamaged answer comes; its sequence number, if it has one, is that of the question.

        The same message goes out again, with the same sequence number, after a 96 and after a damaged answer:
        the standard has the other side repeat its answer then.
        """
        self._sequence = (self._sequence + 1) % 10
        data = frame(body, self._library.encoding, self._sequence if self._library.checksums else None)
        for _ in range(_ATTEMPTS):
            self._wire.send(data)
            try:
                message = await self._receive(until)
            except BadChecksum:
                continue
            if message.text.startswith(messages.RESEND):
                continue
            if not message.text.startswith(answer):
                raise GarbledReply
            if self._library.checksums and message.sequence not in {None, self._sequence}:
                raise OutOfStep
            return message
        raise BadChecksum

    async def _receive(self, until: float) -> Message:
        patience = asyncio.get_running_loop().time() + self._library.answer_seconds
        data = await self._wire.receive(min(until, patience))
        message = open_frame(data, self._library.encoding, checksum_needed=self._other_sends_checksums)
        # From its first checksum on, an answer without one has lost its tail, and fields with it.
        self._other_sends_checksums |= message.checked
        return message


async def connect(
    library: Library, credentials: Credentials | None, context: ssl.SSLContext | None, until: float
) -> Sip2Connection:
    """A connection that is ready for questions, within `connect_seconds` and by `until`. Raises NoAnswer."""
    connection = Sip2Connection(library)
    until = min(until, asyncio.get_running_loop().time() + library.connect_seconds)
    try:
        async with asyncio.timeout_at(until):
            await connection.open()
            if context is not None:
                await connection.secure(context)
            if credentials is not None:
                await connection.log_in(credentials, until)
            await connection.ask_status(until)
    except BaseException as failure:
        connection.close()
        if isinstance(failure, TimeoutError):
            raise TimedOut from None
        if isinstance(failure, ClosedWithoutAnswer):
            raise NotLetIn from None  # no card was asked about yet: the library itself is not well
        raise
    return connection


class IdleConnections:
    """The last one put is the first one taken, so those that are not needed grow old, and are closed.

    A firewall forgets a quiet connection without a word, and who then asks over it waits for a time-out.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._connections: list[Sip2Connection] = []
        self._poll: asyncio.TimerHandle | None = None

    def put(self, connection: Sip2Connection) -> None:
        """Keep it for the next question."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._connections.append(connection)
        if self._poll is None:
            self._poll = loop.call_later(self._seconds, self._drop_old)

    def take(self) -> Sip2Connection | None:
        """One that can carry a question; None when there is none."""
        while self._connections:
            connection = self._connections.pop()
            if connection.is_idle and not self._is_old(connection):
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Drop them all."""
        while self._connections:
            self._connections.pop().close()
        if self._poll is not None:
            self._poll.cancel()
            self._poll = None

    def _is_old(self, connection: Sip2Connection) -> bool:
        return asyncio.get_running_loop().time() - connection.idle_since >= self._seconds

    def _drop_old(self) -> None:
        self._poll = None
        old = [connection for connection in self._connections if self._is_old(connection)]
        self._connections = [connection for connection in self._connections if connection not in old]
        for connection in old:
            connection.close()
        if self._connections:
            oldest = min(connection.idle_since for connection in self._connections)
            self._poll = asyncio.get_running_loop().call_at(oldest + self._seconds, self._drop_old)
