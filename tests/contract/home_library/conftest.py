"""Two kinds of home libraries that know the same patrons: in memory, and the demo library over real TCP."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from infra.local.configuration import HOME_LIBRARY_ENVIRONMENT, home_libraries_toml
from infra.local.home_library import home_library
from infra.local.patrons import demo_patrons
from infra.local.ports import free_port
from registration.adapters.home_library.client import home_libraries
from registration.adapters.home_library.settings import read_directory
from registration.adapters.in_memory import InMemoryHomeLibraries
from registration.application.dependencies import HomeLibraries
from registration.bootstrap import home_library_http
from registration.domain.verdict import NotFound, PatronDetails, Reason, Refused, Unavailable, Valid, Verdict
from shared.kernel import amsterdam

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

    async def comes_back(self) -> None:
        await self._server.enter_async_context(home_library(self._folder, self._port))

    async def goes_down(self) -> None:
        await self._server.aclose()


@pytest.fixture(params=["in memory", "SIP2 over TCP"])
async def home(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Home]:
    if request.param == "in memory":
        yield InMemory()
        return
    over_tcp = OverTcp(tmp_path)
    await over_tcp.comes_back()
    yield over_tcp
    await over_tcp.libraries.close()
    await over_tcp.goes_down()
