"""The product's home libraries over real TCP, with a library behind it that replies as a test says."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries, home_libraries
from registration.adapters.home_library.settings import Credentials, Directory
from registration.bootstrap import home_library_http
from tests.support.home_libraries import Sip2Host, sip2_host
from tests.unit.registration.adapters.home_library.sip2.reading import TODAY, library

ISIL = "NL-070288"
CREDENTIALS = Credentials("gast", "geheim")
Open = Callable[..., DirectoryHomeLibraries]


@pytest.fixture
async def host() -> AsyncIterator[Sip2Host]:
    """A library that listens, accepts every login and knows no card yet."""
    async with sip2_host(Sip2Host()) as listening:
        yield listening


@pytest.fixture
async def open_libraries(host: Sip2Host) -> AsyncIterator[Open]:
    """Makes the home libraries with the host as the only one: short time-outs, settings as the test says."""
    async with AsyncExitStack() as opened:

        def open_them(encoding: str = "cp850", **changed: object) -> DirectoryHomeLibraries:
            times = {"connect_seconds": 1.0, "answer_seconds": 0.3}
            settings = library(encoding, port=host.port, institution=ISIL, **(times | changed))
            made = home_libraries(
                Directory({ISIL: settings}, {ISIL: CREDENTIALS}, {}), home_library_http, lambda: TODAY
            )
            opened.push_async_callback(made.close)
            return made

        yield open_them


@pytest.fixture
def libraries(open_libraries: Open) -> DirectoryHomeLibraries:
    """As most libraries are."""
    return open_libraries()
