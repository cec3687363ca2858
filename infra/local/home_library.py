"""The demo home library: SIP2 over TCP and an account directory over HTTP, in one process on 127.0.0.1.

Its patrons are in `home_library.json` in the folder RUN_DIR. That file is read for every request.

Example: python -m infra.local.home_library --sip-port 6001 --http-port 6002 --run-dir .run
"""

import argparse
import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.account_directory import serve_accounts
from infra.local.patrons import Patrons
from infra.local.sip2_server import Sip2Server
from shared.kernel.files import keep_files_private

HOST = "127.0.0.1"
PATRONS_FILE = "home_library.json"


@dataclass(frozen=True, slots=True)
class Ports:
    """The TCP ports on which it listens."""

    sip: int
    http: int


@asynccontextmanager
async def home_library(run_dir: Path, sip_port: int = 0, http_port: int = 0) -> AsyncIterator[Ports]:
    """Run a home library inside the block and return its ports. Port 0 means any free port."""
    patrons = Patrons(run_dir / PATRONS_FILE)
    connections: set[Sip2Server] = set()
    loop = asyncio.get_running_loop()
    sip = await loop.create_server(lambda: Sip2Server(patrons, connections), HOST, sip_port)
    http = await serve_accounts(HOST, http_port)
    try:
        yield Ports(*(server.sockets[0].getsockname()[1] for server in (sip, http)))
    finally:
        for server in (sip, http):
            server.close()
        for connection in list(connections):
            connection.hang_up()


async def _serve(run_dir: Path, sip_port: int, http_port: int) -> None:
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with home_library(run_dir, sip_port, http_port) as ports:
        print(
            f"home library ready: SIP2 on {HOST}:{ports.sip}, accounts on http://{HOST}:{ports.http}",
            flush=True,
        )
        await stopped.wait()


def main() -> None:
    """Run until SIGTERM or Ctrl-C."""
    keep_files_private()
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.home_library",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sip-port", type=int, default=0, help="TCP port for SIP2; 0: any free port")
    parser.add_argument("--http-port", type=int, default=0, help="TCP port of the account directory")
    parser.add_argument("--run-dir", type=Path, required=True, help="folder with home_library.json")
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.run_dir, arguments.sip_port, arguments.http_port))


if __name__ == "__main__":
    main()
