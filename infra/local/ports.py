"""Free ports of 127.0.0.1, reserved so that two processes of this user never take the same one."""

import fcntl
import functools
import os
import random
import socket
import tempfile
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below the range of outgoing connections. So the kernel gives no connection such a port between the check
# that it is free and the server's bind.
_FIRST, _LAST = 15_000, 31_999


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens. It is reserved until this process ends."""
    for _ in range(200):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 (a port is no secret)
        if port not in _OURS and _reserved(port) and is_free(port):
            return port
    raise RuntimeError(f"no free port found on 127.0.0.1 between {_FIRST} and {_LAST}")


def kept_port(file: Path) -> int:
    """Return the port in this file. If it is in use, return a free one and write it to the file."""
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
    """Reserve a port. Return False when another process of this user reserved it, perhaps to listen soon."""
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _OURS.add(port)
    return True


@functools.cache
def _reservations() -> int:
    """Return an open file with a byte for each port. A process locks the bytes of its ports until it ends."""
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
    """Return whether something accepts connections on this port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=0.5):
            return True
    except OSError:
        return False
