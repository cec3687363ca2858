"""One home library that speaks NCIP 2.02, over HTTP or over TCP (R4)."""

import base64
from collections.abc import Callable
from datetime import date

from registration.adapters.home_library.http import HttpLine
from registration.adapters.home_library.lines import Reply, Turns
from registration.adapters.home_library.ncip.messages import LONGEST_REPLY, XmlFrames, lookup_user
from registration.adapters.home_library.ncip.reply import Asked, read_reply
from registration.adapters.home_library.settings import Credentials, Library
from registration.adapters.home_library.tcp import TcpConnection
from registration.adapters.home_library.wire import Tap


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


class NcipOverTcp(TcpConnection):
    """A connection that takes one message after the other. Credentials are in each of them."""

    def __init__(self, library: Library, credentials: Credentials | None, tap: Tap | None = None) -> None:
        super().__init__(library, XmlFrames(), LONGEST_REPLY, tap)
        self._credentials = credentials

    async def patron(self, card_number: str, today: date, until: float, *, alone: bool = False) -> Reply:
        """See TcpConnection. A first question is alone: no reply to an earlier one can come."""
        alone = alone or not self.questions
        self.questions += 1
        self._wire.send(lookup_user(self._library, self._credentials, card_number))
        reply = await self._receive(until)
        return read_reply(reply, self._library, Asked(card_number, today, alone))
