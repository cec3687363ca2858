"""Home libraries that know the same patrons: in memory, the demo library, and one for each protocol."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from infra.local.configuration import HOME_LIBRARY_ENVIRONMENT, home_libraries_toml
from infra.local.home_library import home_library
from infra.local.patrons import Patrons, Status, demo_patrons
from infra.local.ports import free_port
from registration.adapters.home_library.client import DirectoryHomeLibraries, home_libraries
from registration.adapters.home_library.settings import Credentials, Directory, read_directory
from registration.adapters.in_memory import InMemoryHomeLibraries
from registration.application.dependencies import HomeLibraries
from registration.bootstrap import home_library_http
from registration.domain.verdict import NotFound, PatronDetails, Reason, Refused, Unavailable, Valid, Verdict
from shared.kernel import amsterdam
from tests.contract.home_library.asking import ZOE, asked
from tests.support.library_hosts import KINDS, Kind, Koha, LibraryHost, Person, Pieces, library_host

ISIL = "NL-070288"
MERGED = "NL-070299"
ALIASES = {MERGED: ISIL}
TODAY = amsterdam.today()
END = date(TODAY.year + 1, 12, 31)


class Home(Protocol):
    """A home library that can be switched off and on."""

    @property
    def libraries(self) -> HomeLibraries: ...

    async def goes_down(self) -> None: ...

    async def comes_back(self) -> None: ...

    def expected(self, card: str) -> Verdict: ...


def details(card: str) -> PatronDetails:
    line = demo_patrons(TODAY)[card]
    return PatronDetails(line["name"], date.fromisoformat(line["birth_date"]), line["address"], line["email"])


def refused(card: str, reason: Reason) -> Refused:
    return Refused((reason,), False, details(card), END, card)


EXPECTED: Mapping[str, Verdict] = {
    "0990139305": Valid(details("0990139305"), END, "0990139305"),
    "0990139313": Valid(details("0990139313"), None, "0990139313"),
    "0990139321": Refused(
        (Reason.EXPIRED,), True, details("0990139321"), TODAY - timedelta(days=1), "0990139321"
    ),
    "0990139339": refused("0990139339", Reason.FINES),
    "0990139347": refused("0990139347", Reason.CARD_LOST),
    "0990139354": Valid(details("0990139354"), END, "0990139354", is_guest_subscription=True),
    "0990139362": Valid(details("0990139362"), END, "0990139305"),
    "0990139370": Unavailable("closed the connection without a reply"),
    "0990000000": NotFound(),
}
"""What each card of the demo library is, and one that does not exist."""


class InMemory:
    def __init__(self) -> None:
        self.libraries = InMemoryHomeLibraries([ISIL, "NL-083424"], ALIASES)
        for card, verdict in EXPECTED.items():
            if not isinstance(verdict, NotFound):
                self.libraries.answers(ISIL, card, verdict)

    def expected(self, card: str) -> Verdict:
        return EXPECTED[card]

    async def goes_down(self) -> None:
        self.libraries.goes_down(ISIL)

    async def comes_back(self) -> None:
        self.libraries.comes_back(ISIL)


class OverTcp:
    """The local stack's home library, reached as in production."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._server = AsyncExitStack()
        directory = read_directory(home_libraries_toml(self._port), HOME_LIBRARY_ENVIRONMENT)
        self.libraries = home_libraries(replace(directory, aliases=ALIASES), home_library_http)

    def expected(self, card: str) -> Verdict:
        return EXPECTED[card]

    async def comes_back(self) -> None:
        await self._server.enter_async_context(home_library(self._folder, self._port))

    async def goes_down(self) -> None:
        await self._server.aclose()


def person_of(patrons: Patrons, asked: str) -> Person | Status | None:
    """The patron of a card of the demo library."""
    found = patrons.find(ISIL, asked)
    if found is None:
        return None
    number, patron = found
    if patron.status is Status.SILENT:
        return patron.status
    blocks = {Status.FINES: (Reason.FINES,), Status.LOST: (Reason.CARD_LOST,)}
    return Person(
        number,
        patron.name,
        patron.birth_date,
        tuple(patron.address.split(", ")),
        patron.email,
        TODAY - timedelta(days=1) if patron.status is Status.EXPIRED else patron.ends_on,
        blocks.get(patron.status, ()),
        patron.status is Status.GUEST,
        None if number == asked else asked,
        TODAY,
    )


class InProtocol:
    """One library that knows the demo patrons, and another that knows nobody."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self._kind = kind
        self._patrons = Patrons(folder / "home_library.json")
        self._ports = {ISIL: free_port(), "NL-083424": free_port()}
        self._servers = AsyncExitStack()
        found = {isil: kind.library(port, answer_seconds=10.0) for isil, port in self._ports.items()}
        credentials = dict.fromkeys(found, Credentials("gast", "geheim"))
        self.libraries = home_libraries(
            Directory(found, credentials if kind.library(1).username_env else {}, ALIASES), home_library_http
        )

    def expected(self, card: str) -> Verdict:
        """Koha has no word for fines, and a number that was replaced finds nobody there."""
        if isinstance(self._kind, Koha) and card == "0990139339":
            return refused(card, Reason.BLOCKED)
        if isinstance(self._kind, Koha) and card == "0990139362":
            return NotFound()
        return EXPECTED[card]

    def _answer(self, question: bytes) -> Pieces:
        asked = self._kind.asked_card(question)
        found = person_of(self._patrons, asked)
        if found is None or (isinstance(self._kind, Koha) and asked != getattr(found, "number", asked)):
            return self._kind.whole(self._kind.nobody())(question)
        if isinstance(found, Status):
            return [None]
        return self._kind.knows(found)(question)

    async def comes_back(self) -> None:
        for isil, port in self._ports.items():
            host = await self._servers.enter_async_context(library_host(self._kind, port))
            host.usually = self._answer if isil == ISIL else self._kind.whole(self._kind.nobody())

    async def goes_down(self) -> None:
        await self._servers.aclose()


@pytest.fixture(
    params=["in memory", "SIP2 of the demo", *KINDS], ids=lambda kind: getattr(kind, "name", kind)
)
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    if request.param == "in memory":
        yield InMemory()
        return
    made: OverTcp | InProtocol = (
        OverTcp(tmp_path) if isinstance(request.param, str) else InProtocol(request.param, tmp_path)
    )
    await made.comes_back()
    yield made
    await made.libraries.close()
    await made.goes_down()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found = request.param
    assert isinstance(found, Kind)
    return found


@pytest.fixture
async def host(kind: Kind) -> AsyncIterator[LibraryHost]:
    """A library that knows Zoë."""
    async with library_host(kind) as listening:
        listening.usually = kind.knows(ZOE)
        yield listening


@pytest.fixture
async def libraries(host: LibraryHost) -> AsyncIterator[DirectoryHomeLibraries]:
    async with asked(host) as found:
        yield found
