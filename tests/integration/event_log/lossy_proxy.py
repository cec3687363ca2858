"""A network between us and PostgreSQL that loses answers, or is down, when a test asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class LossyProxy:
    """Passes bytes on. `lose_answers(n)`: the next n answers are swallowed and their connections cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._lose_after: bytes | None = None
        self.lost = 0
        self.port = 0

    def lose_answer_of(self, statement: bytes) -> None:
        """Swallow the answer to the next call whose bytes contain this, after the server has sent it."""
        self._lose_after = statement

    async def up(self) -> None:
        """Take connections (again), on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Cut all connections and take no more."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(*self._target)
        cut = asyncio.Event()
        self._writers |= {to_client, to_server}
        ways = [
            asyncio.create_task(self._pass_on(client, to_server, cut)),
            asyncio.create_task(self._answer(server, to_client, cut)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for writer in (to_client, to_server):
            writer.close()
            self._writers.discard(writer)

    async def _pass_on(
        self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while sent := await client.read(65536):
            if self._lose_after is not None and self._lose_after in sent:
                self._lose_after = None
                cut.set()
            to_server.write(sent)
            await to_server.drain()

    async def _answer(
        self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, cut: asyncio.Event
    ) -> None:
        while answer := await server.read(65536):
            if cut.is_set():
                self.lost += 1
                return
            to_client.write(answer)
            await to_client.drain()


@asynccontextmanager
async def lossy(url: str) -> AsyncIterator[tuple[LossyProxy, str]]:
    """A proxy before the server of `url`, and the address that leads through it."""
    address = urlsplit(url)
    proxy = LossyProxy(str(address.hostname), int(address.port or 5432))
    await proxy.up()
    through = address._replace(netloc=address.netloc.replace(f":{address.port}", f":{proxy.port}"))
    try:
        yield proxy, urlunsplit(through)
    finally:
        await proxy.down()
