"""A side that goes on listening and says nothing any more: what a lost route or a hung server looks like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from shared.platform import limits

SHORT: Mapping[str, float] = {
    "CONNECT": 0.3,
    "STATEMENT": 0.4,
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

    New connections are silent as well, unless `new_too` is false, until `speak()`.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._pipes: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._server: asyncio.Server | None = None
        self._silent = False
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Cut everything."""
        if self._server is not None:
            self._server.close()
        for pipe, writers in list(self._pipes.items()):
            pipe.cancel()
            for writer in writers:
                writer.transport.abort()

    def turn_to(self, host: str, port: int) -> None:
        """From now on new connections lead to another server. Those from before stay."""
        self._target = (host, port)

    def silence(self, *, new_too: bool = True) -> None:
        """From now on nothing comes through existing connections."""
        self._silent = new_too
        for pipe in list(self._pipes):
            pipe.cancel()

    def speak(self) -> None:
        """New connections pass again. Those from before stay silent."""
        self._silent = False

    @contextmanager
    def silent(self, *, new_too: bool = True) -> Iterator[None]:
        """Silence inside the block."""
        self.silence(new_too=new_too)
        try:
            yield
        finally:
            self.speak()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._silent:
            pipe = asyncio.create_task(asyncio.Event().wait())
            self._pipes[pipe] = (writer,)  # type: ignore[index]
            return
        try:
            from_server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, to_server)
        for source, sink in ((reader, to_server), (from_server, writer)):
            self._pipes[asyncio.create_task(self._pass_on(source, sink, both))] = both

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        try:
            while sent := await source.read(65536):
                sink.write(sent)
                await sink.drain()
        except ConnectionError:
            pass
        for writer in both:
            writer.close()


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
