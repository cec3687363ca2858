"""One SIP2 connection: logged in, its status asked, one question at a time."""

import asyncio
import ssl
from time import time

from registration.adapters.home_library import sip2_messages as messages
from registration.adapters.home_library.directory import Credentials
from registration.adapters.home_library.failures import (
    BadChecksum,
    ClosedWithoutAnswer,
    GarbledReply,
    NotLetIn,
    OutOfStep,
    TimedOut,
)
from registration.adapters.home_library.library import Library
from registration.adapters.home_library.sip2 import Message, frame, open_frame
from registration.adapters.home_library.sip2_dates import timestamp
from registration.adapters.home_library.sip2_wire import Tap, Wire

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
