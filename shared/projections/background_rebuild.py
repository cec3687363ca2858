"""Rebuild views in the background of a service, each in its own process.

A rebuild goes on when the operator who started it leaves the page. It ends when the service stops; then the
live view is unchanged.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Literal, Self

import structlog

from shared.projections.rebuild import Source, become_a_part, rebuild
from shared.projections.view import FoldFailed, RebuildRunning, View

log = structlog.get_logger(__name__)

State = Literal["running", "done", "busy", "failed"]


@dataclass(slots=True)
class BackgroundRebuild:
    """One rebuild. `done` and `total` count events.

    State `busy`: another process rebuilds or verifies this view. `failure`: why the rebuild failed.
    """

    view: str
    total: int
    done: int = 0
    state: State = "running"
    failure: str = ""
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def percentage(self) -> int:
        """How far it is. It is 100 only when all is done, because indexes are made after the events."""
        if self.state == "done":
            return 100
        return min(99, self.done * 100 // self.total) if self.total else 0


class BackgroundRebuilds:
    """The rebuilds that this process started: the last one of each view."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._last: dict[str, BackgroundRebuild] = {}
        self._running: dict[str, tuple[BaseProcess, Connection]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    def last(self, view: str) -> BackgroundRebuild | None:
        """Return the rebuild of a view that runs or ran last; None when this process started none."""
        return self._last.get(view)

    async def start(self, view: View) -> BackgroundRebuild:
        """Start the rebuild of a view, or return the one that runs already."""
        known = self._last.get(view.name)
        if known is not None and known.state == "running":
            return known
        begun = self._last[view.name] = BackgroundRebuild(view.name, total=0)
        try:
            begun.total = await self._source.events_of(view)
            self._spawn(view, begun)
        except BaseException:
            begun.state, begun.failure = "failed", "the rebuild could not be started"
            raise
        return begun

    async def close(self) -> None:
        """End all rebuilds that run."""
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
        asyncio.get_running_loop().add_reader(ours.fileno(), self._receive, begun, process, ours)
        log.info("rebuild.started", view=view.name, pid=process.pid)

    def _receive(self, begun: BackgroundRebuild, process: BaseProcess, connection: Connection) -> None:
        try:
            while connection.poll():
                self._note(begun, connection.recv())
        except EOFError:
            if begun.state == "running":
                begun.state, begun.failure = "failed", "the process of the rebuild ended too early"
            begun.seconds = time.monotonic() - begun.began
            self._forget(begun.view, process, connection)
            log.info("rebuild.ended", view=begun.view, state=begun.state, failure=begun.failure)

    def _note(self, begun: BackgroundRebuild, report: int | tuple[State, str]) -> None:
        if isinstance(report, int):
            begun.done += report
        else:
            begun.state, begun.failure = report

    def _forget(self, name: str, process: BaseProcess, connection: Connection) -> None:
        asyncio.get_running_loop().remove_reader(connection.fileno())
        connection.close()
        process.join()  # does not wait: the process has closed its end or was killed
        self._running.pop(name, None)


def _rebuild(source: Source, view: View, reports: Connection) -> None:
    """Rebuild a view in its own process: send how many more events are folded, and finally the result."""
    become_a_part()
    try:
        asyncio.run(rebuild(source, view, reports.send))
    except RebuildRunning:
        reports.send(("busy", ""))
    except FoldFailed as failure:
        reports.send(("failed", str(failure)))
    except Exception as error:  # its text may hold personal data, so only its class is sent
        reports.send(("failed", type(error).__name__))
    else:
        reports.send(("done", ""))
