"""How a test asks a home library of any protocol: over real TCP, by the client of the product."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

from registration.adapters.home_library.client import DirectoryHomeLibraries, home_libraries
from registration.adapters.home_library.settings import Credentials, Directory
from registration.bootstrap import home_library_http
from registration.domain.verdict import (
    PatronDetails,
)
from tests.support.library_hosts import (
    ISIL,
    Koha,
    LibraryHost,
    NcipOverHttp,
    Person,
)

TODAY = date(2025, 9, 11)
CARD = "0990139305"
OTHER = "0990139313"
ZOE = Person()
DETAILS = PatronDetails("Zoë Brouwér", date(1968, 4, 17), "Brink 3, 9301 JK Roden", "zoe@voorbeeld.nl")
END = date(2027, 12, 31)
CREDENTIALS = Credentials("gast", "geheim")
OVER_HTTP = (NcipOverHttp, Koha)


@asynccontextmanager
async def asked(host: LibraryHost, **settings: object) -> AsyncIterator[DirectoryHomeLibraries]:
    """The product's home libraries with the host as the only one."""
    library = host.kind.library(host.port, **settings)
    credentials = {ISIL: CREDENTIALS} if library.username_env else {}
    libraries = home_libraries(Directory({ISIL: library}, credentials, {}), home_library_http, lambda: TODAY)
    try:
        yield libraries
    finally:
        await libraries.close()
