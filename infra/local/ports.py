"""Ports of 127.0.0.1 that nobody uses, nor will use who looked for one before us."""

import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes the ports of outgoing connections: between our look and the
# server's bind no connection of somebody else can take it.
_FIRST, _LAST = 15_000, 31_999


def free_port() -> int:
    """A TCP port on 127.0.0.1 on which nothing listens. It stays ours while this process lives."""
    for _ in range(200):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 (a port is no secret)
        if port not in _OURS and _reserved(port) and is_free(port):
            return port
    raise RuntimeError("no free port found on 127.0.0.1: is something using them all?")


def kept_port(file: Path) -> int:
    """The port in this file, unless somebody has taken it; else a free one, which is written there."""
    try:
        port = int(file.read_text("ascii"))
    except (OSError, ValueError):
        port = 0
    if not port or not _reserved(port) or not is_free(port):
        port = free_port()
        file.write_text(str(port), "ascii")
    return port


_OURS: set[int] = set()


def _reserved(port: int) -> bool:
    """Whether it is ours now: others of this user may just be starting what will listen there."""
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _OURS.add(port)
    return True


@functools.cache
def _reservations() -> int:
    """An open file with a byte for each port, locked by whoever took it until that process ends."""
    file = Path(tempfile.gettempdir()) / f"landelijk-lenen-ports-{os.getuid()}"
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=0.5):
            return True
    except OSError:
        return False
