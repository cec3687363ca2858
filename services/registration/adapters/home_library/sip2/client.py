"""One home library that speaks SIP2: its replies as verdicts (R4), over a few shared connections."""

import asyncio
import ssl
from collections.abc import Callable
from datetime import date

from aiolimiter import AsyncLimiter

from registration.adapters.home_library.errors import ClosedWithoutAnswer, GarbledReply, OutOfStep, TimedOut
from registration.adapters.home_library.settings import Credentials, Library
from registration.adapters.home_library.sip2.connection import IdleConnections, connect
from registration.adapters.home_library.sip2.messages import PatronReply, date_reader, reasons_of
from registration.domain.verdict import UNREADABLE, EndsOn, NotFound, PatronDetails, Reason, Refused, Valid
from shared.kernel.library_card import MalformedCardNumber, canonical_card_number
from shared.kernel.text import tidy


def verdict_of(reply: PatronReply, library: Library, today: date) -> Valid | Refused | NotFound:
    """Return the verdict of a reply on `today` in Europe/Amsterdam. Raises GarbledReply when it has none.

    Only an end date in the past is an end. Flags, and `BL N` alone, are blocks.
    """
    validity = reply.value("BL")
    name = _text(reply.value("AE"), LONGEST_NAME)
    if validity == "N" and not name:
        return NotFound()
    if validity not in {"Y", "N"} or not name:
        raise GarbledReply
    card_number = _card_number(reply)
    details = _details(reply, name, library)
    ends_on = _end_date(reply, library)
    reasons = reasons_of(reply.status, library.refusing)
    if validity == "Y" and not reasons:
        return Valid(details, ends_on, card_number, _is_guest(reply, library))
    ended = isinstance(ends_on, date) and ends_on < today
    if ended:
        reasons.insert(0, Reason.EXPIRED)
    return Refused(tuple(reasons) or (Reason.BLOCKED,), ended, details, ends_on, card_number)


def _card_number(reply: PatronReply) -> str:
    """Return the patron's present card number. It may differ from the one that we asked about (R10)."""
    try:
        return canonical_card_number(reply.value("AA"))
    except MalformedCardNumber:
        raise GarbledReply from None


def _end_date(reply: PatronReply, library: Library) -> EndsOn:
    """Return the last day of the subscription; None when the library does not send it (R12)."""
    code = library.expiry_field
    if code is None or not (text := reply.value(code)):
        return None
    if code in reply.conflicting:
        return UNREADABLE
    return date_reader(library.date_format)(text) or UNREADABLE


def _details(reply: PatronReply, name: str, library: Library) -> PatronDetails:
    birth_date = reply.value(library.birth_date_field) if library.birth_date_field else ""
    return PatronDetails(
        name=name,
        birth_date=date_reader(library.date_format)(birth_date),
        address=_text(reply.value("BD"), LONGEST_ADDRESS) or None,
        email=_text(reply.value("BE"), LONGEST_EMAIL) or None,
    )


LONGEST_NAME, LONGEST_ADDRESS, LONGEST_EMAIL = 200, 500, 254
"""Characters. An index of the guest directory holds the name, and takes no row of some thousand bytes."""


def _text(value: str, longest: int) -> str:
    return tidy(value).strip()[:longest]


def _is_guest(reply: PatronReply, library: Library) -> bool:
    """Return whether the subscription at the home library is itself a guest subscription (R11)."""
    code = library.patron_type_field
    return code is not None and reply.value(code) in library.guest_patron_types


_BURST_SECONDS = 0.1
"""Questions of this many seconds may be sent at once. It is short, so no second exceeds the rate by much."""


class Sip2Library:
    """Asks over at most `library.connections` connections, each with one question at a time.

    At most `library.requests_per_second` questions are sent by this process: its counters and its nightly
    check share the rate. `context`: the TLS settings; None: no TLS.
    """

    def __init__(
        self,
        library: Library,
        credentials: Credentials | None,
        context: ssl.SSLContext | None,
        today: Callable[[], date],
    ) -> None:
        self._library = library
        self._credentials = credentials
        self._context = context
        self._today = today
        self._rate = _rate(library.requests_per_second)
        self._free = asyncio.Semaphore(library.connections)
        self._idle = IdleConnections(library.idle_seconds)

    @property
    def connections(self) -> int:
        """How many questions the library takes at once."""
        return self._library.connections

    async def ask(self, card_number: str) -> Valid | Refused | NotFound:
        """Return the library's verdict about a card. Raises NoAnswer.

        If the library closes a connection without a reply (it was restarted, or the connection was idle for
        long), the question is asked once more on a new one. After a time-out it is not: the caller has waited
        long enough.
        """
        if self._rate is not None:
            await self._rate.acquire()
        until = self._now() + self._library.connect_seconds + self._library.answer_seconds
        if self._free.locked():
            await self._await_connection(until)
        else:
            await self._free.acquire()
        try:
            reply = await self._ask_with_retry(card_number, until)
        finally:
            self._free.release()
        return verdict_of(reply, self._library, self._today())

    async def _ask_with_retry(self, card_number: str, until: float) -> PatronReply:
        try:
            reply = await self._ask_once(card_number, until)
        except (ClosedWithoutAnswer, OutOfStep):
            return await self._ask_again(card_number, until)
        if reply.value("AA") == card_number or reply.in_step:
            return reply
        # Another card number than asked: a replaced card (R10), or a late reply to an earlier question. On a
        # new connection no earlier reply can arrive.
        return await self._ask_again(card_number, until)

    async def _ask_again(self, card_number: str, until: float) -> PatronReply:
        """Ask on a new connection. The wait for the rate limit does not count as time of the library."""
        began = self._now()
        if self._rate is not None:
            await self._rate.acquire()
        self._idle.close()
        return await self._ask_once(card_number, until + self._now() - began)

    async def _ask_once(self, card_number: str, until: float) -> PatronReply:
        """Ask over one connection. Keep it afterwards, except after an error or a cancellation."""
        connection = self._idle.take() or await connect(
            self._library, self._credentials, self._context, until
        )
        try:
            reply = await connection.patron(card_number, until)
        except BaseException:
            connection.close()
            raise
        self._idle.put(connection)
        return reply

    async def _await_connection(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._free.acquire()
        except TimeoutError:
            raise TimedOut from None

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._idle.close()


def _rate(requests_per_second: float | None) -> AsyncLimiter | None:
    if requests_per_second is None:
        return None
    burst = max(1.0, requests_per_second * _BURST_SECONDS)
    return AsyncLimiter(burst, burst / requests_per_second)
