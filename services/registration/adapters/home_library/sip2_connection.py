"""One SIP2 connection: logged in, its status asked, one question at a time."""

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

from registration.adapters.home_library import sip2_messages as messages
from registration.adapters.home_library.directory import Credentials
from registration.adapters.home_library.failures import (
    BadChecksum,
    CannotConnect,
    ClosedWithoutAnswer,
    GarbledReply,
    NotLetIn,
    OutOfStep,
    TimedOut,
)
from registration.adapters.home_library.library import Library
from registration.adapters.home_library.sip2 import Message, frame, open_frame
from registration.adapters.home_library.sip2_wire import Wire

_ATTEMPTS = 3
"""How often one message is sent when it, or its answer, arrives damaged."""
_AMSTERDAM = ZoneInfo("Europe/Amsterdam")


class Sip2Connection:
    """Made by `connect`. After any error it is of no more use: close it."""

    def __init__(self, library: Library, wire: Wire) -> None:
        self._library = library
        self._wire = wire
        self._sequence = -1
        self._other_sends_checksums = False

    async def begin(self, credentials: Credentials | None) -> None:
        """Log in and ask the status. Raises NoAnswer."""
        if credentials is not None:
            request = messages.login_request(
                credentials.username, credentials.password, self._library.location
            )
            messages.read_login_reply((await self._exchange(request, messages.LOGIN_REPLY)).text)
        status = await self._exchange(messages.status_request(), messages.STATUS_REPLY)
        messages.read_status_reply(status.text)

    async def patron(self, card_number: str) -> messages.PatronReply:
        """Ask about one card. Raises NoAnswer, above all ClosedWithoutAnswer and TimedOut."""
        now = datetime.now(_AMSTERDAM)
        request = messages.patron_request(card_number, self._library.institution, now)
        answer = await self._exchange(request, messages.PATRON_REPLY)
        in_step = self._library.checksums and answer.sequence is not None
        return messages.read_patron_reply(answer.text, in_step=in_step)

    @property
    def is_idle(self) -> bool:
        """Whether it can carry a question: still open, and nothing came that nobody asked for."""
        return self._wire.is_quiet

    def close(self) -> None:
        """Drop it at once."""
        self._wire.close()

    async def _exchange(self, body: str, answer: str) -> Message:
        """Send until an undamaged answer comes; its sequence number, if it has one, is that of the question.

        The same message goes out again, with the same sequence number, after a 96 and after a damaged answer:
        the standard has the other side repeat its answer then.
        """
        self._sequence = (self._sequence + 1) % 10
        data = frame(body, self._library.encoding, self._sequence if self._library.checksums else None)
        for _ in range(_ATTEMPTS):
            self._wire.send(data)
            try:
                message = await self._receive()
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

    async def _receive(self) -> Message:
        try:
            async with asyncio.timeout(self._library.answer_seconds):
                data = await self._wire.receive()
        except TimeoutError:
            raise TimedOut from None
        message = open_frame(data, self._library.encoding, checksum_needed=self._other_sends_checksums)
        # From its first checksum on, an answer without one has lost its tail, and fields with it.
        self._other_sends_checksums |= message.checked
        return message


async def connect(library: Library, credentials: Credentials | None) -> Sip2Connection:
    """A connection that is ready for questions, within `connect_seconds`. Raises NoAnswer."""
    wire = Wire()
    connection = Sip2Connection(library, wire)
    try:
        async with asyncio.timeout(library.connect_seconds):
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: wire, library.host, library.port)
            await connection.begin(credentials)
    except BaseException as failure:
        wire.close()
        if isinstance(failure, TimeoutError):
            raise TimedOut from None
        if isinstance(failure, OSError):
            raise CannotConnect from None
        if isinstance(failure, ClosedWithoutAnswer):
            raise NotLetIn from None  # no card was asked about yet: the library itself is not well
        raise
    return connection
