"""TLS to a home library: the certificate is checked, or nothing is said at all (ADR 0016)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from registration.adapters.home_library.client import DirectoryHomeLibraries, home_libraries
from registration.adapters.home_library.settings import Directory
from registration.bootstrap import home_library_http
from registration.domain.verdict import Unavailable, Valid
from tests.integration.home_library.conftest import CREDENTIALS, ISIL
from tests.integration.home_library.test_replies import text_of
from tests.support.home_libraries import Authority, Sip2Host, checked, in_pieces, make_authority, sip2_host
from tests.unit.registration.adapters.home_library.sip2.reading import CARD, TODAY, library

NAME = "sip.library.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


@asynccontextmanager
async def asked(host: Sip2Host, **tls: object) -> AsyncIterator[DirectoryHomeLibraries]:
    settings = library("cp850", port=host.port, tls=True, connect_seconds=5, **tls)
    libraries = home_libraries(
        Directory({ISIL: settings}, {ISIL: CREDENTIALS}, {}), home_library_http, lambda: TODAY
    )
    yield libraries
    await libraries.close()


def knows_everybody() -> Sip2Host:
    host = Sip2Host()
    host.usually[b"63"] = checked(text_of("valid"))
    return host


async def test_questions_go_over_a_checked_connection_that_is_kept(authority: Authority) -> None:
    async with sip2_host(knows_everybody(), tls=authority.server(NAME)) as host:
        host.says(b"63", in_pieces(checked(text_of("valid")), 7))
        async with asked(host, tls_ca_file=authority.file, tls_server_name=NAME) as libraries:
            for _ in range(3):
                assert isinstance(await libraries.ask(ISIL, CARD), Valid)
        assert [len(messages) for messages in host.received] == [5]


@pytest.mark.parametrize(
    ("trusted", "name"),
    [("its own", "other.example"), ("another", NAME), ("the machine's", NAME)],
    ids=["another name", "another authority", "an authority that nobody knows"],
)
async def test_a_certificate_that_is_not_the_librarys_ends_it_before_the_login(
    authority: Authority, tmp_path: Path, trusted: str, name: str
) -> None:
    files = {"its own": authority.file, "another": make_authority(tmp_path, "other").file}
    async with sip2_host(knows_everybody(), tls=authority.server(NAME)) as host:
        async with asked(host, tls_ca_file=files.get(trusted), tls_server_name=name) as libraries:
            assert await libraries.ask(ISIL, CARD) == Unavailable("certificate is not trusted")
        assert not any(host.received)


async def test_on_this_machine_checking_can_be_left_out(authority: Authority) -> None:
    async with (
        sip2_host(knows_everybody(), tls=authority.server(NAME)) as host,
        asked(host, tls_verify=False) as libraries,
    ):
        assert isinstance(await libraries.ask(ISIL, CARD), Valid)


async def test_a_library_that_speaks_no_tls_receives_no_credentials() -> None:
    received = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(4096))
        writer.write(b"96AZFEF6\r")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    host = Sip2Host()
    host.port = server.sockets[0].getsockname()[1]
    async with server, asked(host) as libraries:
        assert await libraries.ask(ISIL, CARD) == Unavailable("TLS handshake failed")
    assert b"geheim" not in received
    assert received[0] == 0x16  # a handshake, and nothing else
