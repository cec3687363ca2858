"""SIP2 servers that nobody here wrote, from PyPI: each knows the same patrons, in its own process.

`pysip2` is a package for the side of a library system, `invenio-sip2` the SIP2 server of the library system
RERO ILS. Neither sends an end date of the membership, a birth date or a patron type: SIP2 2.00 has no fields
for them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.local.ports import answers, free_port
from infra.local.processes import Program
from tests.support.peers import met
from tests.support.peers.environments import PeerMissing, peer_python

VALID, BLOCKED, LOST, FINES, INVALID, NOBODY = [f"099013930{last}" for last in range(4, 10)]
_START_SECONDS = 60.0


def _patron(*flags: str, valid: bool = True) -> dict[str, Any]:
    address, email = "Brink 3, 9301 JK Roden", "zoe@voorbeeld.nl"
    return {"name": "Zoë Brouwér", "address": address, "email": email, "flags": flags, "valid": valid}


PATRONS = {
    VALID: _patron(),
    BLOCKED: _patron("charge"),
    LOST: _patron("lost", "charge"),
    FINES: _patron("fines"),
    INVALID: _patron(valid=False),
}


@dataclass(frozen=True)
class Sip2Peer:
    """A running server. `encoding`: how it writes texts."""

    name: str
    version: str
    port: int
    encoding: str


@dataclass(frozen=True)
class Sip2Package:
    """A package from PyPI that serves SIP2. `environment`: the name of its lock beside this file."""

    name: str
    environment: str
    encoding: str


PACKAGES = (Sip2Package("pysip2", "pysip2", "cp850"), Sip2Package("invenio-sip2", "invenio_sip2", "utf-8"))


@contextmanager
def sip2_peer(package: Sip2Package) -> Iterator[Sip2Peer]:
    """Serve with this package while the context lasts. Raises PeerMissing when it does not start."""
    port = free_port()
    with TemporaryDirectory(prefix=f"{package.name}-") as folder:
        settings = Path(folder) / "settings.json"
        settings.write_text(json.dumps({"port": port, "patrons": PATRONS}))
        script = Path(__file__).with_name(f"{package.environment}_server.py")
        command = [str(peer_python(package.environment)), "-P", str(script), str(settings)]
        server = Program(package.name, command, Path(folder) / "log")
        server.spawn()
        try:
            _await_port(server, port)
            version = server.log.read_text().split()[0]
            met(f"{package.name} {version} (SIP2 server)")
            yield Sip2Peer(package.name, version, port, package.encoding)
        finally:
            server.stop()


def _await_port(server: Program, port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not answers(port):
        if not server.running or time.monotonic() > deadline:
            raise PeerMissing(f"{server.name} did not start: {server.last_words(20)}")
        time.sleep(0.05)
