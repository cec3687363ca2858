"""One SIP2 connection, with one question at a time."""

from collections.abc import Callable
from datetime import date
from time import time
from typing import TypeVar

from registration.adapters.home_library.errors import BadChecksum
from registration.adapters.home_library.settings import Credentials, Library
from registration.adapters.home_library.sip2 import messages
from registration.adapters.home_library.sip2.framing import LONGEST_REPLY, FrameReader, frame, is_checked
from registration.adapters.home_library.sip2.messages import Expected, timestamp
from registration.adapters.home_library.sip2.reply import Asked, read_reply
from registration.adapters.home_library.tcp import TcpConnection
from registration.adapters.home_library.wire import Tap
from registration.domain.verdict import NotFound, Refused, Valid

Reply = TypeVar("Reply")
_ATTEMPTS = 3
"""How often one message is sent if the message or its reply arrives damaged."""


class Sip2Connection(TcpConnection):
    """A connection that is logged in, with sequence numbers and checksums where the library has them."""

    def __init__(self, library: Library, credentials: Credentials | None, tap: Tap | None = None) -> None:
        super().__init__(library, FrameReader(), LONGEST_REPLY, tap)
        self._credentials = credentials
        self._sequence = -1
        self._other_sends_checksums = False

    async def begin(self, until: float) -> None:
        """Log in and ask for the status, where the library has both. Raises NoAnswer."""
        await self.log_in(until)
        if self._library.questions_per_connection is None:
            await self.ask_status(until)

    async def log_in(self, until: float) -> None:
        """Log in, if there are credentials. Raises LoginRefused, NoAnswer."""
        if (known := self._credentials) is None:
            return
        request = messages.login_request(known.username, known.password, self._library.location)
        await self._exchange(request, messages.read_login_reply, until)

    async def ask_status(self, until: float) -> None:
        """Check that the library is on-line. Raises OffLine, NoAnswer."""
        await self._exchange(messages.status_request(), messages.read_status_reply, until)

    async def patron(
        self, card_number: str, today: date, until: float, *, alone: bool = False
    ) -> Valid | Refused | NotFound:
        """See TcpConnection."""

        def read(data: bytes, _encoding: str, expected: Expected) -> Valid | Refused | NotFound:
            return read_reply(data, self._library, Asked(card_number, today, expected, alone))

        self.questions += 1
        request = messages.patron_request(card_number, self._library.institution, timestamp(int(time())))
        return await self._exchange(request, read, until)

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
