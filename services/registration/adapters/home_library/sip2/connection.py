"""One SIP2 connection, with one question at a time."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import date
from time import time
from typing import TypeVar

from registration.adapters.home_library.errors import (
    BadChecksum,
    ClosedWithoutAnswer,
    GarbledReply,
    NotLetIn,
    NotUnderstood,
    TimedOut,
)
from registration.adapters.home_library.settings import Credentials, Library
from registration.adapters.home_library.sip2 import messages
from registration.adapters.home_library.sip2.framing import LONGEST_REPLY, FrameReader, frame, is_checked
from registration.adapters.home_library.sip2.messages import Expected, timestamp
from registration.adapters.home_library.sip2.reply import Asked, read_reply
from registration.adapters.home_library.wire import Tap, Wire
from registration.domain.verdict import NotFound, Refused, Valid

Reply = TypeVar("Reply")
_ATTEMPTS = 3
"""How often one message is sent if the message or its reply arrives damaged."""


class Sip2Connection:
    """One connection. Call `open`, `secure` (with TLS), `log_in`, `ask_status`; then `patron`, many times.

    Close it after any error: it cannot be used any more. `until` is a moment of the event loop's clock.
    """

    def __init__(self, library: Library, tap: Tap | None = None) -> None:
        self._library = library
        self._wire = Wire(FrameReader(), LONGEST_REPLY, tap)
        self._sequence = -1
        self._other_sends_checksums = False
        self.idle_since = 0.0
        self.questions = 0
        """How many questions about a card it was asked."""

    async def open(self) -> None:
        """Connect, without a time-out. Raises CannotConnect."""
        await self._wire.connect(self._library.host, self._library.port)

    async def secure(self, context: ssl.SSLContext) -> ssl.SSLObject:
        """Start TLS. Return what was negotiated. Raises CertificateNotTrusted, TlsFailed."""
        return await self._wire.secure(context, self._library.tls_server_name or self._library.host)

    async def log_in(self, credentials: Credentials, until: float) -> None:
        """Log in. Raises LoginRefused, NoAnswer."""
        request = messages.login_request(credentials.username, credentials.password, self._library.location)
        await self._exchange(request, messages.read_login_reply, until)

    async def ask_status(self, until: float) -> None:
        """Check that the library is on-line. Raises OffLine, NoAnswer."""
        await self._exchange(messages.status_request(), messages.read_status_reply, until)

    async def patron(
        self, card_number: str, today: date, until: float, *, alone: bool = False
    ) -> Valid | Refused | NotFound:
        """Ask about one card. Raises NoAnswer. `alone`: this is the only question over this connection."""

        def read(data: bytes, _encoding: str, expected: Expected) -> Valid | Refused | NotFound:
            return read_reply(data, self._library, Asked(card_number, today, expected, alone))

        self.questions += 1
        request = messages.patron_request(card_number, self._library.institution, timestamp(int(time())))
        return await self._exchange(request, read, until)

    @property
    def has_half_a_reply(self) -> bool:
        """Whether a reply began to arrive and has no end."""
        return self._wire.has_begun

    @property
    def is_idle(self) -> bool:
        """Whether it can take a question: it is open, and no unexpected data came in."""
        return self._wire.is_quiet

    def close(self) -> None:
        """Close it at once."""
        self._wire.close()

    async def _exchange(
        self, body: str, read: Callable[[bytes, str, Expected], Reply], until: float
    ) -> Reply:
        """Send a message and return what `read` makes of its reply.

        After a 96 (resend) and after a damaged reply, the same message is sent again with the same sequence
        number. The standard says that the other side then repeats its reply.
        """
        library = self._library
        self._sequence = (self._sequence + 1) % 10
        sequence = self._sequence if library.checksums else None
        data = frame(body, library.encoding, sequence)
        for _ in range(_ATTEMPTS):
            self._wire.send(data)
            answer = await self._receive(until)
            try:
                found = read(answer, library.encoding, Expected(sequence, self._other_sends_checksums))
            except BadChecksum:
                continue
            # After its first checksum, a reply without one has lost its end, and maybe fields too.
            self._other_sends_checksums = self._other_sends_checksums or is_checked(answer)
            return found
        raise BadChecksum

    async def _receive(self, until: float) -> bytes:
        time_out = asyncio.get_running_loop().time() + self._library.answer_seconds
        return await self._wire.receive(min(until, time_out))


async def connect(
    library: Library, credentials: Credentials | None, context: ssl.SSLContext | None, until: float
) -> Sip2Connection:
    """Return a connection ready for questions, within `connect_seconds` and by `until`. Raises NoAnswer."""
    connection = Sip2Connection(library)
    until = min(until, asyncio.get_running_loop().time() + library.connect_seconds)
    try:
        async with asyncio.timeout_at(until):
            await connection.open()
            if context is not None:
                await connection.secure(context)
            if credentials is not None:
                await connection.log_in(credentials, until)
            if library.questions_per_connection is None:
                await connection.ask_status(until)
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
