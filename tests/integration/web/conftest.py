"""The real server on a real port, with an app of a few routes, and clients that write bytes themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import pytest
import uvloop
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from prometheus_client import REGISTRY
from starlette.types import Receive, Scope, Send

from infra.local.ports import LOOPBACK, free_port
from shared.platform.settings import HttpLimits
from shared.web.app import Operations, make_app
from shared.web.security import TokenVerifier
from shared.web.server import serve
from tests.support.eventually import eventually

PIECE = b" " * 1_000_000


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Use the event loop of the product: it has its own buffers and transports."""
    return {"uvloop": uvloop.new_event_loop}


def connections() -> float | None:
    """How many the server counts."""
    return REGISTRY.get_sample_value("http_connections")


@dataclass
class Answer:
    """One response, as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A client that writes what a test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *pieces: bytes) -> None:
        self.writer.write(b"".join(pieces))

    async def floods(self, piece: bytes, most: int) -> int:
        """Write without end until the server closes the connection; how many bytes it took."""
        sent = 0
        with suppress(ConnectionError):
            while sent < most:
                self.writer.write(piece)
                await self.writer.drain()
                sent += len(piece)
        return sent

    async def answer(self) -> Answer:
        """The next response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status.split()[1]), headers, body)

    async def is_closed(self, within: float = 10.0) -> bool:
        """Whether the server closes the connection; what still came before is dropped."""
        try:
            async with asyncio.timeout(within):
                while await self.reader.read(1_000_000):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


@dataclass
class Served:
    """The server, what its app saw, and its clients."""

    port: int
    opened: AsyncExitStack
    limits: HttpLimits
    requests: list[str] = field(default_factory=list)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    written: int = 0

    async def connect(self, buffer: int | None = None) -> Wire:
        """Open a connection; `buffer`: bytes that it reads ahead."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port, limit=buffer or 2**16)
        self.opened.callback(writer.transport.abort)
        return Wire(reader, writer)

    async def asks(self, *pieces: bytes) -> Answer:
        """The response to these bytes on a connection of their own."""
        wire = await self.connect()
        wire.send(*pieces)
        answer = await wire.answer()
        wire.writer.transport.abort()
        return answer

    async def is_up(self) -> bool:
        """Whether it answers."""
        try:
            return (await self.asks(b"GET /health/live HTTP/1.1\r\nHost: service\r\n\r\n")).status == 200
        except ConnectionError:
            return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the request and serve it (ASGI)."""
        self.requests.append(scope["path"])
        await self.routes(scope, receive, send)

    @cached_property
    def routes(self) -> FastAPI:
        app = make_app(
            title="test",
            description="",
            problem_types={},
            verifier=cast("TokenVerifier", None),
            operations=Operations({}),
        )

        app.add_api_route("/slow", self._slow)
        app.add_api_route("/large", self._large)
        app.add_api_route("/echo", self._echo, methods=["POST"])
        app.add_api_route("/form", self._form, methods=["POST"])
        return app

    async def _slow(self) -> str:
        await self.goes_on.wait()
        return "at last"

    async def _echo(self, body: dict[str, Any]) -> dict[str, Any]:
        return body

    async def _form(self, request: Request) -> int:
        return len(await request.form())

    async def _large(self) -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(500):
                yield PIECE
                self.written += len(PIECE)
                await asyncio.sleep(0)  # so that it can be stopped

        return StreamingResponse(pieces())


Serve = Callable[..., Any]


@pytest.fixture
async def serves() -> AsyncIterator[Serve]:
    """Start a server with the limits that a test names; all others are the defaults."""
    async with AsyncExitStack() as opened:

        async def started(**changed: Any) -> Served:
            limits = HttpLimits(**changed)
            served, stopping = Served(free_port(), opened, limits), asyncio.Event()
            serving = asyncio.create_task(serve(served, LOOPBACK, served.port, stopping, limits))

            async def stop() -> None:
                served.goes_on.set()
                stopping.set()
                await serving

            opened.push_async_callback(stop)
            await eventually(served.is_up)
            await eventually(lambda: connections() == 0)
            served.requests.clear()
            return served

        yield started
