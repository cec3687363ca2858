"""Serves an app over HTTP until a stop signal."""

import asyncio
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import cast

import structlog
import uvicorn
from prometheus_client import Gauge
from starlette.types import ASGIApp

from shared.platform.limits import LAST_REQUESTS
from shared.platform.settings import HttpLimits
from shared.web.http_protocol import MOST_REFUSED, BoundedProtocol

log = structlog.get_logger(__name__)

BACKLOG = 2048
OTHER_FILES = 1000
"""Open files and connections of a process beside those of its clients, such as connections to libraries."""

CONNECTIONS = Gauge("http_connections", "Open connections of clients of the HTTP service")


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    stopping: asyncio.Event,
    limits: HttpLimits = HttpLimits(),  # noqa: B008 - it is frozen
) -> None:
    """Serve until `stopping` is set; open requests then have LAST_REQUESTS seconds to end.

    Raises OSError when the port is in use. Proxy headers are ignored: any client could write them. There is
    no access log, because addresses hold card numbers; `RequestContext` logs requests by their route.
    """
    protocol = partial(BoundedProtocol, limits=_possible(limits))
    config = uvicorn.Config(
        app,
        loop="none",
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_REQUESTS,
    )
    server = _Server(config)
    CONNECTIONS.set_function(lambda: len(server.server_state.connections))
    with _listening(host, port) as listener:
        address = f"http://{host}:{listener.getsockname()[1]}"
        log.info("server.listening", address=address)
        watching = asyncio.create_task(_stop(server, stopping))
        try:
            await server.serve(sockets=[listener])
        finally:
            watching.cancel()


def _possible(limits: HttpLimits) -> HttpLimits:
    """Return the limits with no more connections than this process may open files, after asking for more."""
    needed = limits.max_connections + MOST_REFUSED + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return limits
    possible = max(1, min(limits.max_connections, soft // 2))
    log.warning("server.few_files", open_files=soft, needed=needed, max_connections=possible)
    return replace(limits, max_connections=possible)


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
