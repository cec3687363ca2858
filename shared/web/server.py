"""Serves an app over HTTP until a stop signal."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from starlette.types import ASGIApp

log = structlog.get_logger(__name__)

LAST_REQUESTS_SECONDS = 6
"""Time for open requests to end after a stop signal."""
IDLE_SECONDS = 75
"""Longer than clients keep an idle connection: if the server closed first, a new request could be lost."""
BACKLOG = 2048


async def serve(app: ASGIApp, host: str, port: int, stopping: asyncio.Event) -> None:
    """Serve until `stopping` is set; open requests then have LAST_REQUESTS_SECONDS to end.

    Raises OSError when the port is in use. Proxy headers are ignored: any client could write them. There is
    no access log, because addresses hold card numbers; `RequestContext` logs requests by their route.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=LAST_REQUESTS_SECONDS,
    )
    server = _Server(config)
    with _listening(host, port) as listener:
        address = f"http://{host}:{listener.getsockname()[1]}"
        log.info("server.listening", address=address)
        watching = asyncio.create_task(_stop(server, stopping))
        try:
            await server.serve(sockets=[listener])
        finally:
            watching.cancel()


class _Server(uvicorn.Server):
    """Leaves signals to `stop_signals`: uvicorn would raise them again at the end and kill the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _stop(server: uvicorn.Server, stopping: asyncio.Event) -> None:
    await stopping.wait()
    server.should_exit = True


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=False) as listener:
        yield listener
