"""Rebuilding views in the background of a service: each in a process of its own, watched by whoever looks.

Who started one may go away: it goes on. When the service stops, it ends, and the live view is as it was.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Literal, Self

import structlog

from shared.projections.rebuild import Source, become_a_part, rebuild
from shared.projections.view import FoldFailed, RebuildRunning, View

log = structlog.get_logger(__name__)

State = Literal["running", "done", "busy", "failed"]
TELL_EVERY = 0.25  # seconds: how often who watches is told that nothing changed, or how far it is


@dataclass(slots=True)
class BackgroundRebuild:
    """One rebuild. `done` and `total` count events; `busy`: another process was at it; `failure`: why."""

    view: str
    total: int
    done: int = 0
    state: State = "running"
    failure: str = ""
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def percentage(self) -> int:
        """How far it is; not 100 before it is all done, since indexes come after the events."""
        if self.state == "done":
            return 100
        return min(99, self.done * 100 // self.total) if self.total else 0


class BackgroundRebuilds:
    """The rebuilds that this process started: the last one of each view."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._last: dict[str, BackgroundRebuild] = {}
        self._running: dict[str, tuple[BaseProcess, Connection]] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    def last(self, view: str) -> BackgroundRebuild | None:
        """The one that runs, or ran last; None when none was started here."""
        return self._last.get(view)

    async def start(self, view: View) -> BackgroundRebuild:
        """Begin, unless it runs already."""
        known = self._last.get(view.name)
        if known is not None and known.state == "running":
            return known
        begun = self._last[view.name] = BackgroundRebuild(view.name, total=0)
        try:
            begun.total = await self._source.events_of(view)
            self._spawn(view, begun)
        except BaseException:
            begun.state, begun.failure = "failed", "it could not be started"
            raise
        return begun

    async def follow(self, view: str, stopping: asyncio.Event) -> AsyncIterator[BackgroundRebuild]:
        """The rebuild each time that it is further, and last of all when it has ended."""
        while (known := self._last.get(view)) is not None:
            yield known
            if known.state != "running" or stopping.is_set():
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(TELL_EVERY):
                    await self._changed.wait()

    async def close(self) -> None:
        """End those that run."""
        for name, (process, connection) in list(self._running.items()):
            process.kill()
            self._forget(name, process, connection)

    def _spawn(self, view: View, begun: BackgroundRebuild) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork would inherit connections and the event loop
        ours, theirs = spawn.Pipe(duplex=False)
        process = spawn.Process(
            target=_rebuild, args=(self._source, view, theirs), name=f"rebuild {view.name}"
        )
        process.start()
        theirs.close()
        self._running[view.name] = process, ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._hear, begun, process, ours)
        log.info("rebuild_started", view=view.name, pid=process.pid)

    def _hear(self, begun: BackgroundRebuild, process: BaseProcess, connection: Connection) -> None:
        try:
            while connection.poll():
                self._take_in(begun, connection.recv())
        except EOFError:
            if begun.state == "running":
                begun.state, begun.failure = "failed", "its process ended"
            begun.seconds = time.monotonic() - begun.began
            self._forget(begun.view, process, connection)
            log.info("rebuild_ended", view=begun.view, state=begun.state, failure=begun.failure)
        self._changed.set()
        self._changed = asyncio.Event()

    def _take_in(self, begun: BackgroundRebuild, told: int | tuple[State, str]) -> None:
        if isinstance(told, int):
            begun.done += told
        else:
            begun.state, begun.failure = told

    def _forget(self, name: str, process: BaseProcess, connection: Connection) -> None:
        asyncio.get_running_loop().remove_reader(connection.fileno())
        connection.close()
        process.join()  # it has closed its end, or was killed: this does not wait
        self._running.pop(name, None)


def _rebuild(source: Source, view: View, telling: Connection) -> None:
    """In the process of its own: tell how many more events are folded, and last how it went."""
    become_a_part()
    try:
        asyncio.run(rebuild(source, view, telling.send))
    except RebuildRunning:
        telling.send(("busy", ""))
    except FoldFailed as failure:
        telling.send(("failed", str(failure)))
    except Exception as error:  # its text may hold what is personal: the kind must do
        telling.send(("failed", type(error).__name__))
    else:
        telling.send(("done", ""))
