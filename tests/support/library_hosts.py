"""Home libraries of every protocol over real TCP, which reply as a test says.

Written from the standards, without the product's own code: a mistake there must show here. They are ours: no
NCIP server and no Koha could be installed for a test, so what these say is how we read the documents of both.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import urllib.parse
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date

from registration.adapters.home_library.settings import Library
from registration.domain.verdict import Reason
from tests.support import ncip
from tests.support.eventually import eventually
from tests.support.home_libraries import HOST, LOGGED_IN, ON_LINE, with_checksum

Pieces = Iterable[bytes | float | None]
Answer = Callable[[bytes], Pieces]
"""From a question about a card to what is written, piece by piece.

A number is a pause in seconds; None: the connection is closed.
"""
ISIL = "NL-070288"
TOKEN = "een-heel-geheim-token"
PIECE = 64 * 1024
MOST_SENT = 32 * 1024 * 1024
"""What an endless reply has at most: more than any limit and the buffers of the network together."""


@dataclass(frozen=True)
class Person:
    """A patron of a home library. `earlier`: the number of a card that this one replaced.

    `today`: on which day the library replies.
    """

    number: str = "0990139305"
    name: str = "Zoë Brouwér"
    birth_date: date | None = date(1968, 4, 17)
    address: tuple[str, ...] = ("Brink 3", "9301 JK Roden")
    email: str | None = "zoe@voorbeeld.nl"
    ends_on: date | None = date(2027, 12, 31)
    blocks: tuple[Reason, ...] = ()
    is_guest: bool = False
    earlier: str | None = None
    today: date = date(2025, 9, 11)


class LibraryHost:
    """Gives the replies that `says` lined up, one for each question about a card; after them `usually`.

    `greets`: replies that come before a question about a card, such as a token. `sent`: bytes of replies.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.port = 0
        self.questions: list[bytes] = []
        self.connections = 0
        self.sent = 0
        self.most_at_once = 0
        self.usually: Answer = lambda _question: [None]
        self.greets: Answer | None = None
        self._at_once = 0
        self._next: deque[Answer] = deque()
        self._writers: set[asyncio.StreamWriter] = set()

    def says(self, *answers: Answer) -> None:
        """The replies to the next questions about a card."""
        self._next.extend(answers)

    @property
    def open_connections(self) -> int:
        return len(self._writers)

    def hang_up(self) -> None:
        """Close every connection without another word."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it."""
        self.connections += 1
        self._writers.add(writer)
        try:
            while question := await self.kind.question(reader):
                if await self._write(writer, self._answer_to(question)(question)):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            pass  # the client closed it
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _answer_to(self, question: bytes) -> Answer:
        greeting = self.kind.greeting(question)
        if greeting is not None:
            return self.greets or greeting
        self.questions.append(question)
        return self._next.popleft() if self._next else self.usually

    async def _write(self, writer: asyncio.StreamWriter, pieces: Pieces) -> bool:
        """Write the pieces. Whether the connection is over."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            for piece in pieces:
                if piece is None or self.sent > MOST_SENT:
                    return True
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                    continue
                writer.write(piece)
                self.sent += len(piece)
                await writer.drain()
                await asyncio.sleep(0)  # the client reads this piece before the next is sent
        finally:
            self._at_once -= 1
        return False


@asynccontextmanager
async def library_host(
    kind: Kind, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[LibraryHost]:
    """Let a library listen while the context lasts; port 0 means any free one."""
    host = LibraryHost(kind)
    server = await asyncio.start_server(host.serve, HOST, port, ssl=tls)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        host.hang_up()
        await eventually(lambda: host.open_connections == 0)


@dataclass(frozen=True)
class Kind:
    """A protocol, from the side of the library. `reasons`: those that it can give."""

    name: str
    settings: Mapping[str, object] = field(default_factory=dict)
    reasons: frozenset[Reason] = frozenset({Reason.BLOCKED, Reason.CARD_LOST})

    def library(self, port: int, **more: object) -> Library:
        """The settings with which the product asks it."""
        known = {"host": HOST, "port": port, "connect_seconds": 5.0, "answer_seconds": 10.0}
        return Library.model_validate({**known, **self.settings, **more})

    async def question(self, reader: asyncio.StreamReader) -> bytes:
        """The next question of a connection."""
        raise NotImplementedError

    def greeting(self, question: bytes) -> Answer | None:
        """What is replied to a question that is not about a card."""
        return None

    def whole(self, payload: bytes) -> Answer:
        """An honest reply with these contents."""
        raise NotImplementedError

    def person(self, person: Person) -> bytes:
        """What is said about a person."""
        raise NotImplementedError

    def nobody(self) -> bytes:
        """What is said about a card that nobody has."""
        raise NotImplementedError

    def late(self, person: Person) -> Answer:
        """The reply to an earlier question, about this person."""
        return self.knows(person)

    def unreadable(self, person: Person) -> bytes:
        """What ends as it should and cannot be understood."""
        raise NotImplementedError

    def asked_card(self, question: bytes) -> str:
        """The card in a question."""
        raise NotImplementedError

    def knows(self, person: Person) -> Answer:
        """The whole reply about a person."""
        return self.whole(self.person(person))


_FLAGS = {Reason.BLOCKED: 0, Reason.CARD_LOST: 4, Reason.FINES: 10}


class Sip2(Kind):
    """SIP2 with a login, sequence numbers and checksums."""

    async def question(self, reader: asyncio.StreamReader) -> bytes:
        return (await reader.readuntil(b"\r")).strip(b"\r\n")

    def greeting(self, question: bytes) -> Answer | None:
        return {b"93": self.whole(LOGGED_IN), b"99": self.whole(ON_LINE)}.get(question[:2])

    def whole(self, payload: bytes) -> Answer:
        return lambda question: [with_checksum(payload, question)]

    def person(self, person: Person) -> bytes:
        positions = {_FLAGS[reason] for reason in person.blocks}
        flags = "".join("Y" if position in positions else " " for position in range(14))
        fields = {
            "AO": ISIL,
            "AA": person.number,
            "AE": person.name,
            "BL": "Y",
            "BD": ", ".join(person.address),
            "BE": person.email or "",
            "PA": f"{person.ends_on:%Y%m%d}" if person.ends_on else "",
            "PB": f"{person.birth_date:%Y%m%d}" if person.birth_date else "",
            "PC": "GAST" if person.is_guest else "LID",
        }
        if person.ends_on and person.ends_on < person.today:
            fields["BL"] = "N"
        text = "".join(f"{code}{value}|" for code, value in fields.items())
        return f"64{flags}00520250911    101530{'0000' * 6}{text}".encode("cp850")

    def nobody(self) -> bytes:
        return f"64{'':14}00520250911    101530{'0000' * 6}AO{ISIL}|AA|AE|BLN|".encode()

    def late(self, person: Person) -> Answer:
        return lambda _question: [with_checksum(self.person(person), b"AY9")]

    def unreadable(self, person: Person) -> bytes:
        return self.person(person).replace(b"BLY", b"BLQ")

    def asked_card(self, question: bytes) -> str:
        return question.partition(b"|AA")[2].partition(b"|")[0].decode()


def _blocks(person: Person) -> list[str]:
    types = {Reason.BLOCKED: "Block Check Out", Reason.CARD_LOST: "Trap For Lost Card", Reason.FINES: "Fines"}
    return [types[reason] for reason in person.blocks]


class Ncip(Kind):
    """What NCIP over HTTP and over TCP have in common: the messages."""

    def person(self, person: Person) -> bytes:
        end = f"{person.ends_on}T23:59:59" if person.ends_on else None
        return ncip.person(
            person.number,
            person.name,
            birth_date=person.birth_date,
            address=person.address,
            email=person.email,
            privileges=[ncip.Privilege("GAST" if person.is_guest else "LID", end)],
            blocks=_blocks(person),
            earlier=person.earlier,
        )

    def nobody(self) -> bytes:
        return ncip.nobody()

    def unreadable(self, person: Person) -> bytes:
        return self.person(person).replace(b"<ns1:UserId>", b"<ns1:User>", 1)

    def asked_card(self, question: bytes) -> str:
        return ncip.asked_card(question)


class NcipOverTcp(Ncip):
    """One message after the other over a connection."""

    async def question(self, reader: asyncio.StreamReader) -> bytes:
        return (await reader.readuntil(b"NCIPMessage>")).strip()

    def whole(self, payload: bytes) -> Answer:
        return lambda _question: [payload]


def http_reply(body: bytes, kind: str = "application/json", status: str = "200 OK", more: str = "") -> bytes:
    """A whole HTTP response."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


async def http_request(reader: asyncio.StreamReader) -> bytes:
    """The head and the body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


class NcipOverHttp(Ncip):
    """One message in each POST."""

    async def question(self, reader: asyncio.StreamReader) -> bytes:
        return await http_request(reader)

    def whole(self, payload: bytes) -> Answer:
        return lambda _question: [http_reply(payload, "application/xml")]


class Koha(Kind):
    """Koha's REST API. It knows one client, whose token does not change."""

    async def question(self, reader: asyncio.StreamReader) -> bytes:
        return await http_request(reader)

    def greeting(self, question: bytes) -> Answer | None:
        path = question.split(b" ")[1]
        if path == b"/api/v1/oauth/token":
            form = urllib.parse.parse_qs(question.partition(b"\r\n\r\n")[2].decode())
            asked = [form.get(key) for key in ("grant_type", "client_id", "client_secret")]
            if asked != [["client_credentials"], ["gast"], ["geheim"]]:
                return lambda _question: [
                    http_reply(b'{"error": "unauthorized_client"}', status="403 Forbidden")
                ]
            token = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
            return self.whole(json.dumps(token).encode())
        if f"authorization: bearer {TOKEN}".encode() not in question.lower():
            return raw(http_reply(b'{"error": "no"}', status="401 Unauthorized"))
        assert path.startswith(b"/api/v1/patrons?"), path
        return None

    def whole(self, payload: bytes) -> Answer:
        return lambda _question: [http_reply(payload)]

    def person(self, person: Person) -> bytes:
        given, _, surname = person.name.partition(" ")
        street, _, house = person.address[0].rpartition(" ") if person.address else ("", "", "")
        code, place = person.address[1][:7], person.address[1][8:]
        patron = {
            "patron_id": 51,
            "cardnumber": person.number,
            "firstname": given,
            "surname": surname,
            "date_of_birth": person.birth_date and str(person.birth_date),
            "address": street,
            "street_number": house,
            "postal_code": code,
            "city": place,
            "email": person.email,
            "category_id": "GAST" if person.is_guest else "VOLW",
            "library_id": "CPL",
            "expiry_date": person.ends_on and str(person.ends_on),
            "restricted": Reason.BLOCKED in person.blocks or Reason.FINES in person.blocks,
            "patron_card_lost": Reason.CARD_LOST in person.blocks,
            "incorrect_address": False,
        }
        return json.dumps([patron], ensure_ascii=False).encode()

    def nobody(self) -> bytes:
        return b"[]"

    def unreadable(self, person: Person) -> bytes:
        return self.person(person).replace(b"[", b"", 1)

    def asked_card(self, question: bytes) -> str:
        found = re.search(rb"(?im)^x-koha-query: *(.*?)\r?$", question)
        address = urllib.parse.unquote_plus(question.split(b" ")[1].decode())
        query = found[1] if found else address.partition("&q=")[2]
        return str(json.loads(query)["cardnumber"])


_LOGIN = {"username_env": "HOME_USER", "password_env": "HOME_PASSWORD"}
_AGENCIES = {"from_agency": "NL-070297", "to_agency": ISIL}
_GUESTS = {"guest_patron_types": ["GAST"]}
_SIP2 = {"institution": ISIL, "expiry_field": "PA", "birth_date_field": "PB", "patron_type_field": "PC"}
_ALL = frozenset(_FLAGS)
KINDS = (
    Sip2("SIP2", {**_SIP2, **_GUESTS, **_LOGIN}, _ALL),
    NcipOverHttp("NCIP over HTTP", {"protocol": "ncip", **_AGENCIES, **_GUESTS}, _ALL),
    NcipOverTcp("NCIP over TCP", {"protocol": "ncip", "transport": "tcp", **_AGENCIES, **_GUESTS}, _ALL),
    Koha("Koha", {"protocol": "koha", **_GUESTS, **_LOGIN}),
)


def silence(_question: bytes) -> Pieces:
    """No reply; the connection stays."""
    return []


def hang_up(_question: bytes) -> Pieces:
    """The connection closes without a reply."""
    return [None]


def bytes_of(answer: Answer, question: bytes) -> bytes:
    """The reply without pauses."""
    return b"".join(piece for piece in answer(question) if isinstance(piece, bytes))


def half(answer: Answer) -> Answer:
    """Half of a reply, and no more."""
    return lambda question: [(whole := bytes_of(answer, question))[: len(whole) // 2]]


def half_and_hang_up(answer: Answer) -> Answer:
    """Half of a reply, and the connection closes."""
    return lambda question: [*half(answer)(question), None]


def in_pieces(answer: Answer, size: int) -> Answer:
    """The same bytes, so many at a time."""

    def pieces(question: bytes) -> Pieces:
        whole = bytes_of(answer, question)
        return [whole[at : at + size] for at in range(0, len(whole), size)]

    return pieces


def slowly(answer: Answer, seconds: float) -> Answer:
    """The same bytes, in twenty pieces over so many seconds."""

    def pieces(question: bytes) -> Pieces:
        whole = bytes_of(answer, question)
        size = len(whole) // 20 + 1
        for at in range(0, len(whole), size):
            yield whole[at : at + size]
            yield seconds / 20

    return pieces


def endless(beginning: bytes, more: bytes) -> Answer:
    """A reply that has no end."""

    def pieces(_question: bytes) -> Pieces:
        yield beginning
        while True:
            yield more * (PIECE // len(more))

    return pieces


def raw(data: bytes) -> Answer:
    """These bytes, whatever the protocol is."""
    return lambda _question: [data]
