"""Whatever an LDAP server sends, and whatever it does not: unavailable after few bytes and seconds (I4)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import cast

import pytest
import uvloop
from sansldap import (
    ExtendedOperations,
    ExtendedRequest,
    LDAPClient,
    LDAPError,
    LDAPMessage,
    LDAPResultCode,
    LDAPServer,
    PartialAttribute,
    SearchRequest,
)

from identity.adapters.account_directory import GuardedDirectory
from identity.adapters.directory_settings import LdapDirectory
from identity.adapters.ldap_connection import MOST_BYTES
from identity.adapters.ldap_directory import LdapAccountDirectory
from identity.application.dependencies import AccountDirectory, ById, DirectoryUnavailable
from tests.support.account_directories import HOME, JAN, LDAP_ATTRIBUTES, LdapHost, SlapdWithAccounts
from tests.support.home_libraries import Authority, make_authority
from tests.support.silence import shorten

Reply = Callable[[LDAPServer, LDAPMessage], bytes]
"""What the server below sends to a message."""

ENTRY = {
    "displayName": JAN.account_id,
    "uid": JAN.username,
    "mail": JAN.email,
    "o": JAN.home_isil,
    "employeeNumber": JAN.home_card_number or "",
}


@dataclass
class LdapPeer:
    """A server over real TCP that replies as a test says. Empty bytes: it says nothing. None: it hangs up."""

    reply: Callable[[LDAPServer, LDAPMessage], bytes | None]
    tls: ssl.SSLContext | None = None
    port: int = 0
    asked: list[LDAPMessage] = field(default_factory=list)
    sent: int = 0
    hung_up_on: int = 0
    serving: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = LDAPServer()
        self.serving.append(cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            while data := await reader.read(65536):
                for message in session.receive(data):
                    self.asked.append(message)
                    if (reply := self.reply(session, message)) is None:
                        return
                    await self._send(writer, reply)
                    if self.tls and isinstance(message, ExtendedRequest):
                        await writer.start_tls(self.tls)
                        session = LDAPServer()
            self.hung_up_on += 1
        except LDAPError:
            while await reader.read(65536):  # a handshake, for example: it says nothing to that
                pass
        except (ConnectionError, ssl.SSLError):
            self.hung_up_on += 1
        finally:
            writer.transport.abort()

    async def _send(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        writer.write(reply)
        await writer.drain()
        self.sent += len(reply)


@asynccontextmanager
async def ldap_peer(
    reply: Callable[[LDAPServer, LDAPMessage], bytes | None], tls: ssl.SSLContext | None = None
) -> AsyncIterator[LdapPeer]:
    peer = LdapPeer(reply, tls)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    async with server:
        yield peer
    for task in peer.serving:
        task.cancel()
    await asyncio.gather(*peer.serving, return_exceptions=True)
    await asyncio.sleep(0)  # the transports are closed one turn of the loop later


def directory_at(port: int, **said: object) -> AccountDirectory:
    settings = {
        "kind": "ldap",
        "url": f"ldap://localhost:{port}",
        "base": "dc=example",
        "attributes": {name: value for name, value in LDAP_ATTRIBUTES.items() if name != "active"},
    }
    context = {"private_hosts": frozenset[str](), "folder": Path("/")}
    described = LdapDirectory.model_validate(settings | said, context=context)
    return GuardedDirectory(LdapAccountDirectory(described))


def entry(session: LDAPServer, message: LDAPMessage, **changed: bytes) -> bytes:
    values = {name: value.encode() for name, value in ENTRY.items()} | changed
    attributes = [PartialAttribute(name, [value]) for name, value in values.items()]
    session.search_result_entry(message.message_id, "cn=lener,dc=example", attributes)
    return session.data_to_send()


def done(session: LDAPServer, message: LDAPMessage, code: LDAPResultCode = LDAPResultCode.SUCCESS) -> bytes:
    session.search_result_done(message.message_id, code)
    return session.data_to_send()


def endless_entries(session: LDAPServer, message: LDAPMessage) -> bytes:
    one = entry(session, message, mail=b"x" * 1000)
    return one * (4 * MOST_BYTES // len(one))


def a_reference(session: LDAPServer, message: LDAPMessage) -> bytes:
    session.search_result_reference(message.message_id, ["ldap://elsewhere.example/dc=example"])
    return session.data_to_send() + entry(session, message) + done(session, message)


def of_another_question(session: LDAPServer, message: LDAPMessage) -> bytes:
    reply = entry(session, message)
    return reply.replace(bytes([2, 1, message.message_id]), bytes([2, 1, message.message_id + 1]), 1)


def wrong_kind(session: LDAPServer, message: LDAPMessage) -> bytes:
    session.bind_response(message.message_id)
    return session.data_to_send()


ENDLESS = b" " * 4 * MOST_BYTES
HOSTILE: dict[str, Reply] = {
    "closed without an answer": lambda session, message: b"\x30\x00",
    "text": lambda session, message: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "endless bytes of one message": lambda session, message: b"\x30\x84\x7f\xff\xff\xff" + ENDLESS,
    "an endless length": lambda session, message: b"\x30\xff" + b"\xff" * 200,
    "entries without end": endless_entries,
    "more entries than were asked for": lambda session, message: entry(session, message) * 250,
    "a referral": lambda session, message: done(session, message, LDAPResultCode.REFERRAL),
    "a reference to elsewhere": a_reference,
    "busy": lambda session, message: entry(session, message) + done(session, message, LDAPResultCode.BUSY),
    "too many": lambda session, message: done(session, message, LDAPResultCode.SIZE_LIMIT_EXCEEDED),
    "an unknown code": lambda session, message: done(session, message, LDAPResultCode(99)),
    "another question's answer": of_another_question,
    "another kind of answer": wrong_kind,
    "a wrong charset": lambda session, message: (
        entry(session, message, mail="jan\xeb@voorbeeld.nl".encode("latin-1")) + done(session, message)
    ),
    "a wrong charset of the name": lambda session, message: (
        entry(session, message, uid=b"\xff\xfe") + done(session, message)
    ),
    "no card": lambda session, message: (
        entry(session, message, employeeNumber=b"no card!") + done(session, message)
    ),
    "no value": lambda session, message: entry(session, message, o=b"") + done(session, message),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_answer_is_unavailable(kind: str) -> None:
    async with ldap_peer(HOSTILE[kind]) as peer:
        with pytest.raises(DirectoryUnavailable) as raised:
            await directory_at(peer.port).by_username(JAN.username, HOME)
    assert "voorbeeld" not in str(raised.value)
    assert len([message for message in peer.asked if isinstance(message, SearchRequest)]) == 1


async def test_a_message_without_end_is_given_up_by_its_bytes() -> None:
    async with ldap_peer(HOSTILE["endless bytes of one message"]) as peer:
        with pytest.raises(DirectoryUnavailable, match=f"more than {MOST_BYTES} bytes"):
            await directory_at(peer.port).by_id("acc-jan")


async def test_the_answer_of_an_honest_server_is_the_account() -> None:
    async with ldap_peer(lambda session, message: entry(session, message) + done(session, message)) as peer:
        assert await directory_at(peer.port).by_username("Jan.Jansen", HOME) == JAN
        assert await directory_at(peer.port).by_id("acc-nobody") is None, "it ignored the filter"
        assert await directory_at(peer.port).by_username("niemand", HOME) is None


@pytest.mark.parametrize("seed", range(40))
async def test_an_answer_with_changed_bytes_never_ends_in_another_error(seed: int) -> None:
    random = Random(seed)

    def damaged(session: LDAPServer, message: LDAPMessage) -> bytes:
        whole = bytearray(entry(session, message) + done(session, message))
        for _ in range(random.randint(1, 4)):
            whole[random.randrange(len(whole))] = random.randrange(256)
        return bytes(whole[: random.randint(1, len(whole))]) + b"\x00" * 300

    async with ldap_peer(damaged) as peer:
        with suppress(DirectoryUnavailable):
            found = await directory_at(peer.port).by_username(JAN.username, HOME)
            assert found is None or found.username == JAN.username


def silent(session: LDAPServer, message: LDAPMessage) -> bytes:
    return b""


async def is_given_up(ask: Awaitable[object]) -> None:
    """Within the limit of all that belongs to one question, and the loop goes on meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with pytest.raises(DirectoryUnavailable):
        await ask
    ticking.cancel()
    assert ticks > 3


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async with ldap_peer(silent) as peer:
        await is_given_up(directory_at(peer.port).by_id("acc-jan"))


async def test_a_server_that_drips_is_given_up() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        with suppress(ConnectionError):
            for byte in b"\x30\x82\x27\x10" + b" " * 10_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.transport.abort()
        hung_up.set()

    hung_up = asyncio.Event()
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        await is_given_up(directory_at(server.sockets[0].getsockname()[1]).by_id("acc-jan"))
        await asyncio.wait_for(hung_up.wait(), 10)
        await asyncio.sleep(0)


def accepts_starttls(session: LDAPServer, message: LDAPMessage) -> bytes:
    if not isinstance(message, ExtendedRequest):
        return b""
    session.extended_response(message.message_id, name=ExtendedOperations.LDAP_START_TLS.value)
    return session.data_to_send()


async def test_a_handshake_that_does_not_come_blocks_nobody() -> None:
    async with ldap_peer(accepts_starttls) as peer:
        await is_given_up(directory_at(peer.port, starttls=True).by_id("acc-jan"))
        assert [type(message) for message in peer.asked] == [ExtendedRequest]


async def test_ldaps_to_a_server_without_tls_is_given_up() -> None:
    async with ldap_peer(silent) as peer:
        await is_given_up(directory_at(peer.port, url=f"ldaps://localhost:{peer.port}").by_id("acc-jan"))


def refuses_starttls(session: LDAPServer, message: LDAPMessage) -> bytes:
    session.extended_response(message.message_id, result_code=LDAPResultCode.PROTOCOL_ERROR)
    return session.data_to_send()


async def test_without_tls_no_password_and_no_question_is_sent(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim")
    said = {
        "starttls": True,
        "bind_dn": "cn=reader",
        "password_file": tmp_path / "password",
    }
    async with ldap_peer(refuses_starttls) as peer:
        with pytest.raises(DirectoryUnavailable, match="STARTTLS"):
            await directory_at(peer.port, **said).by_id("acc-jan")
        assert [type(message) for message in peer.asked] == [ExtendedRequest]


async def test_what_was_sent_in_clear_text_is_no_answer_inside_tls(tmp_path: Path) -> None:
    """An answer that somebody on the way puts behind the answer to STARTTLS (as in CVE-2011-0411)."""
    authority = make_authority(tmp_path)

    def injected(session: LDAPServer, message: LDAPMessage) -> bytes:
        if isinstance(message, ExtendedRequest):
            forger = LDAPServer()
            forger.receive(search_with_id(1))
            return accepts_starttls(session, message) + entry(forger, message_with_id(1))
        return done(session, message)

    async with ldap_peer(injected, authority.server("localhost")) as peer:
        directory = directory_at(peer.port, starttls=True, ca_file=authority.file)
        try:
            assert await directory.by_username(JAN.username, HOME) is None
        except DirectoryUnavailable:
            pass
        else:
            assert isinstance(peer.asked[-1], SearchRequest)


def search_with_id(number: int) -> bytes:
    client = LDAPClient()
    for _ in range(number):
        client.search_request("dc=example")
    return client.data_to_send()


def message_with_id(number: int) -> LDAPMessage:
    return LDAPServer().receive(search_with_id(number))[number - 1]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LdapHost]:
    with SlapdWithAccounts(tmp_path_factory.mktemp("slapd"), size_limit=1) as started:
        yield started


async def test_slapd_with_a_certificate_of_another_is_unavailable(host: LdapHost, tmp_path: Path) -> None:
    other: Authority = make_authority(tmp_path, "other")
    port, tls_port = host.server.port, host.server.tls_port
    for starttls, address in ((True, f"ldap://%s:{port}"), (False, f"ldaps://%s:{tls_port}")):
        for name, ca_file in (("localhost", other.file), ("127.0.0.1", host.ca_file), ("localhost", None)):
            asked = host.directory(url=address % name, starttls=starttls, ca_file=ca_file)
            with pytest.raises(DirectoryUnavailable, match="SSL"):
                await asked.by_id(JAN.account_id)


def test_slapd_is_asked_in_the_loop_that_services_run_in(host: LdapHost) -> None:
    """uvloop has another implementation of TLS than asyncio."""

    async def ask() -> None:
        ldaps = {"url": f"ldaps://localhost:{host.server.tls_port}", "starttls": False}
        for said in ({}, ldaps):
            directory = GuardedDirectory(host.directory(**said))
            assert await directory.by_id(JAN.account_id) == JAN
            assert await directory.find_many([ById("acc-jan"), ById("acc-x")]) == {
                ById("acc-jan"): JAN,
                ById("acc-x"): None,
            }
        async with ldap_peer(accepts_starttls) as peer:
            await is_given_up(directory_at(peer.port, starttls=True).by_id("acc-jan"))
        async with ldap_peer(endless_entries) as peer:
            await is_unavailable(directory_at(peer.port))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())


async def is_unavailable(directory: AccountDirectory) -> None:
    with pytest.raises(DirectoryUnavailable):
        await directory.by_id("acc-jan")


async def test_slapd_that_stops_at_its_own_limit_makes_nobody_unknown(host: LdapHost) -> None:
    assert await host.directory().by_id(JAN.account_id) == JAN
    with pytest.raises(DirectoryUnavailable, match="SIZE_LIMIT_EXCEEDED"):
        await host.directory().by_username("tweeling", HOME)


async def test_slapd_lets_nobody_in_with_a_wrong_or_empty_password(host: LdapHost, tmp_path: Path) -> None:
    for password, reason in (("wrong", "INVALID_CREDENTIALS"), ("", "empty"), ("\n", "empty")):
        (tmp_path / "password").write_text(password)
        with pytest.raises(DirectoryUnavailable, match=reason):
            await host.directory(password_file=tmp_path / "password").by_id(JAN.account_id)
    with pytest.raises(DirectoryUnavailable):
        await host.directory(bind_dn=None, password_file=None).by_id(JAN.account_id)


async def test_slapd_reads_the_filter_of_the_settings(host: LdapHost) -> None:
    everybody = host.directory(filter="(&(objectClass=inetOrgPerson)(!(accountActive=FALSE)))")
    assert await everybody.by_id(JAN.account_id) == JAN
    nobody = host.directory(filter=r"(uid=\2a)")
    assert await nobody.by_id(JAN.account_id) is None
