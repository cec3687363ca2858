"""One home library that speaks SIP2: asked over a few shared connections (R4)."""

import ssl
from collections.abc import Callable
from datetime import date
from functools import partial

from registration.adapters.home_library.lines import KeptConnections, Reply, Turns
from registration.adapters.home_library.settings import Credentials, Library
from registration.adapters.home_library.sip2.connection import Sip2Connection, connect


class Sip2Library:
    """Asks over at most `library.connections` connections, each with one question at a time.

    `context`: the TLS settings; None: no TLS.
    """

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
        self._kept = KeptConnections(library, partial(connect, library, credentials, context))

    @property
    def connections(self) -> int:
        """How many questions the library takes at once."""
        return self._library.connections

    async def ask(self, card_number: str) -> Reply:
        """Return the library's verdict about a card. Raises NoAnswer.

        A reply that may answer an earlier question names another card: that may also be the number that
        replaced the asked one (R10). So it is asked again on a new connection.
        """

        async def question(connection: Sip2Connection, until: float, alone: bool) -> Reply:
            return await connection.patron(card_number, self._today(), until, alone=alone)

        async def once(until: float, alone: bool) -> Reply:
            return await self._kept.ask(question, until, alone)

        return await self._turns.ask(once)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._kept.close()
