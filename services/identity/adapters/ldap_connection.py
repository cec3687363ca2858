"""LDAP version 3 over asyncio, as much as a directory that is only read needs (RFC 4511).

The messages are those of `sansldap`. What a server sends is limited in bytes; the caller limits the time.
Nothing here waits in a thread or blocks the loop, also not in a handshake (ADR 0026).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from sansldap import (
    BindResponse,
    ExtendedOperations,
    ExtendedResponse,
    LDAPClient,
    LDAPError,
    LDAPFilter,
    LDAPMessage,
    LDAPResultCode,
    SearchResultDone,
    SearchResultEntry,
    SearchResultReference,
)

from identity.application.dependencies import DirectoryUnavailable

MOST_BYTES = 1024 * 1024
"""Of all that a server sends over one connection."""
_PIECE = 64 * 1024
_LONGEST_SEARCH_SECONDS = 2
"""What the server itself is asked to keep to."""

Answer = TypeVar("Answer", BindResponse, ExtendedResponse)


@dataclass(frozen=True, slots=True)
class Server:
    """Where an LDAP server is, and how it is connected to. `bind_dn` empty: anonymously."""

    url: str
    starttls: bool
    tls: ssl.SSLContext | None
    bind_dn: str
    password: str


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Connection]:
    """Open a connection, and close it at the end. Raises DirectoryUnavailable, also for the caller's part."""
    connection = None
    try:
        connection = await _open(server)
        yield connection
    except (LDAPError, OSError, ValueError, ssl.SSLError, EOFError) as error:
        raise DirectoryUnavailable(type(error).__name__) from error
    finally:
        if connection is not None:
            connection.close()


async def _open(server: Server) -> Connection:
    address = urlsplit(server.url)
    host, uses_ldaps = address.hostname or "", address.scheme == "ldaps"
    reader, writer = await asyncio.open_connection(
        host, address.port or (636 if uses_ldaps else 389), ssl=server.tls if uses_ldaps else None
    )
    connection = Connection(reader, writer.transport)
    try:
        if server.starttls and server.tls is not None:
            await connection.start_tls(server.tls, host)
        if server.bind_dn:
            await connection.bind(server.bind_dn, server.password)
    except BaseException:
        connection.close()
        raise
    return connection


class Connection:
    """One connection: one question at a time. Methods raise LDAPError, OSError and DirectoryUnavailable."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.WriteTransport) -> None:
        self._reader, self._transport = reader, transport
        self._session = LDAPClient()
        self._received = 0

    def close(self) -> None:
        """Close it at once: a server that does not listen is not waited for."""
        self._transport.abort()

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Go on in TLS (RFC 4511, section 4.14)."""
        self._session.extended_request(ExtendedOperations.LDAP_START_TLS.value)
        _require_success(await self._only_answer(ExtendedResponse), "STARTTLS")
        # A new reader: what came in clear text after the answer is dropped. It may be of anybody.
        reader = asyncio.StreamReader(limit=_PIECE)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport = await asyncio.get_running_loop().start_tls(
            self._transport, protocol, context, server_hostname=host
        )
        if transport is None:
            raise ConnectionResetError
        protocol.connection_made(transport)
        self._reader, self._transport, self._session = reader, transport, LDAPClient()

    async def bind(self, name: str, password: str) -> None:
        """Sign in with a password (RFC 4513, section 5.1.3)."""
        self._session.bind_simple(name, password)
        _require_success(await self._only_answer(BindResponse), "bind")

    async def search(
        self, base: str, wanted: LDAPFilter, attributes: Sequence[str], most: int
    ) -> Sequence[SearchResultEntry]:
        """Return all entries below `base`, at most so many. Raises DirectoryUnavailable when there are more.

        A list with a referral is not complete: another server would have to be asked, and none is.
        """
        self._session.search_request(
            base,
            size_limit=most,
            time_limit=_LONGEST_SEARCH_SECONDS,
            filter=wanted,
            attributes=list(attributes),
        )
        entries: list[SearchResultEntry] = []
        async for message in self._messages():
            if isinstance(message, SearchResultEntry):
                entries.append(message)
            elif isinstance(message, SearchResultDone):
                _require_success(message, "search")
                return entries
            elif isinstance(message, SearchResultReference):
                raise DirectoryUnavailable("search: the list goes on at another server")
            else:
                raise LDAPError
            if len(entries) > most:
                raise DirectoryUnavailable("search: more entries than were asked for")
        raise EOFError

    async def _only_answer(self, kind: type[Answer]) -> Answer:
        async for message in self._messages():
            if not isinstance(message, kind):
                raise LDAPError
            return message
        raise EOFError

    async def _messages(self) -> AsyncIterator[LDAPMessage]:
        """Send what is waiting, and yield what comes until the server hangs up."""
        self._transport.write(self._session.data_to_send())
        while piece := await self._reader.read(_PIECE):
            self._received += len(piece)
            if self._received > MOST_BYTES:
                raise DirectoryUnavailable(f"the server sent more than {MOST_BYTES} bytes")
            for message in self._session.receive(piece):
                yield message


def _require_success(message: BindResponse | ExtendedResponse | SearchResultDone, step: str) -> None:
    code = message.result.result_code
    if code is not LDAPResultCode.SUCCESS:  # a code that the library does not know is a number equal to 0
        raise DirectoryUnavailable(f"{step}: the server replies {getattr(code, 'name', code)}")
