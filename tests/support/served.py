"""An app on a port, as in production."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from infra.local.ports import free_port
from shared.web.middleware import Entrance
from shared.web.server import serve
from tests.support.eventually import eventually


@asynccontextmanager
async def served(app: ASGIApp, entrance: Entrance | None = None) -> AsyncIterator[str]:
    """Serve the app on a free port; its address."""
    stopping, port = asyncio.Event(), free_port()
    serving = asyncio.create_task(serve(app, "127.0.0.1", port, stopping, entrance=entrance))
    try:
        await eventually(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        stopping.set()
        await serving


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
