"""A side that goes on listening and says nothing any more, is slow, or cuts its connections.

It is what a lost route, a hung server or a full line looks like.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import pytest

from shared.platform import limits

SHORT: Mapping[str, float] = {
    "CONNECT": 0.3,
    "STATEMENT": 0.4,
    "AT_THE_DOOR": 0.1,
    "ACQUIRE": 0.4,
    "DATABASE": 0.8,
    "BATCH": 0.8,
    "PROBE": 0.3,
    "BROKER_CONNECT": 0.3,
    "HEARTBEAT": 1,
    "BROKER_ANSWER": 0.5,
    "BROKER_CLOSE": 0.2,
    "LOGIN": 0.2,
    "DIRECTORY": 0.2,
    "DIRECTORY_BATCH": 0.4,
    "ACCOUNTS": 0.4,
    "FEED": 0.4,
    "ISSUER": 0.4,
    "TOKEN": 0.3,
    "WEBHOOK": 0.3,
    "TOKEN_PAUSE": 0.05,
    "LONGEST_TOKEN_PAUSE": 0.8,
    "LEASE": 0.8,
    "RENEW": 0.1,
    "LEASE_SESSION": 0.9,
    "LEASE_PROVEN": 0.75,
    "LEASE_PROOF": 0.3,
    "LEASE_TRY": 0.1,
    "CHECK": 0.3,
    "LAST_WORK": 0.4,
    "LAST_WRITES": 0.2,
    "CLOSE": 0.1,
}
"""A tenth of the real limits, so that a test does not have to wait for them."""


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all limits of this process short."""
    for name, seconds in SHORT.items():
        monkeypatch.setattr(limits, name, seconds)


class SilencingProxy:
    """Passes bytes on. `silence()`: connections stay open and nothing comes through, for ever.

    New connections are silent as well, unless `new_too` is false, until `speak()`. `cut()` ends connections,
    `slow()` lets everything come later.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.ends: set[_End] = set()
        self.delay = 0.0
        """Seconds by which all bytes come later."""
        self.is_silent = False
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Take no more connections, and cut everything."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """End all connections at once, on both sides; new ones pass."""
        for end in list(self.ends):
            end.abort()

    def slow(self, seconds: float) -> None:
        """Let all bytes come so much later, each way; 0: as fast as they can."""
        self.delay = seconds

    def turn_to(self, host: str, port: int) -> None:
        """From now on new connections lead to another server. Those from before stay."""
        self.target = (host, port)

    def silence(self, *, new_too: bool = True) -> None:
        """From now on nothing comes through existing connections."""
        self.is_silent = new_too
        for end in self.ends:
            end.fall_silent()

    def speak(self) -> None:
        """New connections pass again. Those from before stay silent."""
        self.is_silent = False

    @contextmanager
    def silent(self, *, new_too: bool = True) -> Iterator[None]:
        """Silence inside the block."""
        self.silence(new_too=new_too)
        try:
            yield
        finally:
            self.speak()


class _End(asyncio.Protocol):
    """One end of a connection: what it receives is written to the other end.

    Callbacks, not streams: the whole load of a system goes through, on the processor that it runs on too.
    """

    def __init__(self, proxy: SilencingProxy, other: _End | None = None) -> None:
        self._proxy = proxy
        self._other = other
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        """What came before the other end was open."""
        self._is_silent = False
        self._due = 0.0
        """When the last bytes of this way are passed on, by the loop's clock."""
        self._opening: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._proxy.ends.add(self)
        if self._other is not None:
            self._other.open_to(self)
        elif self._proxy.is_silent:
            self._is_silent = True
        else:
            self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _End(self._proxy, self), *self._proxy.target)
        except OSError:
            self.abort()

    def open_to(self, other: _End) -> None:
        """Pass on to that end what has come and what comes from now on."""
        self._other = other
        for data in self._early:
            self.data_received(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early.append(data)
        elif not self._is_silent:
            self._pass_on(partial(_write, data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._proxy.ends.discard(self)
        if not self._is_silent:
            self._pass_on(lambda other: other.close())

    def pause_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None:
            self._other.go_on_reading()

    def go_on_reading(self) -> None:
        """Read again, unless this connection is silent or gone."""
        if not self._is_silent and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def fall_silent(self) -> None:
        """Read nothing any more; not even the end of a connection is noticed."""
        self._is_silent = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _pass_on(self, what: Callable[[asyncio.Transport], None]) -> None:
        other = self._other
        if other is None or other._transport is None:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._due = max(now + self._proxy.delay, self._due)
        if self._due <= now:
            what(other._transport)
        else:
            loop.call_at(self._due, what, other._transport)


def _write(data: bytes, other: asyncio.Transport) -> None:
    if not other.is_closing():  # it may have been cut meanwhile
        other.write(data)


@asynccontextmanager
async def silencing(url: str) -> AsyncIterator[tuple[SilencingProxy, str]]:
    """A proxy before the server of `url`, and the address that leads through it."""
    address = urlsplit(url)
    proxy = SilencingProxy(str(address.hostname), int(address.port or 0))
    await proxy.start()
    try:
        yield (
            proxy,
            urlunsplit(address._replace(netloc=address.netloc.replace(f":{address.port}", f":{proxy.port}"))),
        )
    finally:
        proxy.stop()


@asynccontextmanager
async def silencing_all(urls: Mapping[str, str]) -> AsyncIterator[dict[str, tuple[SilencingProxy, str]]]:
    """The same for several sides, by name."""
    async with AsyncExitStack() as opened:
        yield {name: await opened.enter_async_context(silencing(url)) for name, url in urls.items()}


def is_bearable(status: int, headers: Mapping[str, Any]) -> bool:
    """Whether a caller knows what to do: an answer, a refusal, or 503 with the time of another attempt."""
    return status < 500 or (status == 503 and "retry-after" in headers)
