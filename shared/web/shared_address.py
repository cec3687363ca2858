"""One listening socket for several processes, which take clients in turns.

The kernel wakes all of them for a new client, and a client stays for many requests. Left alone, one process
would take most of them. So a process with more clients than another one waits a moment before it takes one
more: the other one is then first, unless it is busy or gone.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from collections.abc import Callable
from dataclasses import dataclass

import structlog

TURN_SECONDS = 0.002
"""How long a process leaves a client to one that has fewer."""
NO_FILES_SECONDS = 0.2
"""After a client that could not be taken, such as for want of open files."""
NOBODY = 2**62
"""The number of a process that takes no clients: it is never the one with fewer."""

log = structlog.get_logger(__name__)


def counts_for(processes: int) -> memoryview:
    """Return a number for each process, in memory that processes forked from this one share."""
    clients = memoryview(mmap.mmap(-1, 8 * processes)).cast("q")
    for place in range(processes):
        clients[place] = NOBODY
    return clients


@dataclass(frozen=True, slots=True)
class SharedAddress:
    """What a process needs to take clients in turns. `clients`: of each process; its own is at `place`."""

    listener: socket.socket
    clients: memoryview
    place: int

    def has_most(self, now: int) -> bool:
        """Record how many clients this process has now, and return whether another one has fewer."""
        self.clients[self.place] = now
        return now > min(self.clients)


class Acceptor:
    """Takes clients of a shared address until it is closed; uvicorn handles it as one of its servers."""

    def __init__(
        self, address: SharedAddress, clients: Callable[[], int], protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        self._address = address
        self._clients = clients
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self._accepted = set[asyncio.Task[object]]()
        address.clients[address.place] = 0
        self._watch()

    def close(self) -> None:
        """Take no more clients."""
        self._address.clients[self._address.place] = NOBODY
        if self._later is None:
            self._loop.remove_reader(self._address.listener)
        else:
            self._later.cancel()

    async def wait_closed(self) -> None:
        """Return when the clients that were taken are connected."""
        await asyncio.gather(*self._accepted, return_exceptions=True)

    def _watch(self) -> None:
        self._later = None
        self._loop.add_reader(self._address.listener, self._client_waits)

    def _client_waits(self) -> None:
        if self._address.has_most(self._clients()):
            self._pause(TURN_SECONDS, self._take_what_is_left)
        else:
            self._take()

    def _take_what_is_left(self) -> None:
        self._watch()
        self._take()

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._address.listener)
        self._later = self._loop.call_later(seconds, then)

    def _take(self) -> None:
        try:
            client, _ = self._address.listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another process was first, or the client has left
        except OSError as error:
            log.warning("client.not_taken", error=error.strerror)
            self._pause(NO_FILES_SECONDS, self._watch)
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, client))
        self._accepted.add(task)
        task.add_done_callback(self._connected)
        self._address.clients[self._address.place] += 1

    def _connected(self, task: asyncio.Task[object]) -> None:
        self._accepted.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("client.not_taken", error=type(error).__name__)
