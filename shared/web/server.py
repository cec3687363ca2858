"""Serves an app over HTTP until a stop signal."""

import asyncio
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import cast

import structlog
import uvicorn
from starlette.types import ASGIApp

from shared.platform.limits import LAST_REQUESTS
from shared.platform.settings import HttpLimits
from shared.web.http_protocol import CONNECTIONS, MOST_REFUSED, BoundedProtocol
from shared.web.middleware import Entrance
from shared.web.shared_address import Acceptor, SharedAddress

log = structlog.get_logger(__name__)

BACKLOG = 2048
OTHER_FILES = 1000
"""Open files and connections of a process beside those of its clients, such as connections to libraries."""


async def serve(
    app: ASGIApp,
    host: str,
    port: int,
    stopping: asyncio.Event,
    limits: HttpLimits = HttpLimits(),  # noqa: B008 - it is frozen
    *,
    shared: SharedAddress | None = None,
    entrance: Entrance | None = None,
) -> None:
    """Serve until `stopping` is set; open requests then have LAST_REQUESTS seconds to end.

    `shared`: the address is served by other processes as well, which listen already. `entrance`: of the app,
    for what is refused before the app hears of it. Raises OSError when the port is in use. Proxy headers are
    ignored: any client could write them. There is no access log, because addresses hold card numbers;
    `RequestContext` logs requests by their route.
    """
    protocol = partial(BoundedProtocol, limits=_possible(limits), entrance=entrance)
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
    server = _Server(config, shared, stopping)
    CONNECTIONS.set(0)
    with nullcontext(shared.listener) if shared else listening(host, port) as listener:
        address = f"http://{host}:{listener.getsockname()[1]}"
        log.info("server.listening", address=address)
        await server.serve(sockets=[listener])


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

    def __init__(self, config: uvicorn.Config, shared: SharedAddress | None, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._shared = shared
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server. Clients of a shared address are taken in turns."""
        await super().startup([] if self._shared else sockets)
        if self._shared:
            state = self.server_state
            make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)
            protocol = partial(make, config=self.config, server_state=state, app_state={})
            acceptor = Acceptor(self._shared, lambda: len(state.connections), protocol)
            self.servers.append(cast("asyncio.Server", acceptor))

    async def main_loop(self) -> None:
        """See uvicorn.Server, which looks ten times a second whether to stop. The date changes once."""
        while not (self._stopping.is_set() or await self.on_tick(0)):
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._stopping.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen at an address. Raises OSError when the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=False) as listener:
        yield listener
