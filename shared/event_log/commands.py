"""The queue of commands that wait to be written, and how a batch is taken from it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from uuid import UUID

from shared.event_log.errors import LogOverloaded, LogUnavailable, VersionConflict
from shared.event_log.side_rows import WrittenRow
from shared.event_log.types import NewEvent

WAITING_COMMANDS = 4096
"""More than this many, and the answer is "overloaded": better said at once than after a time-out."""

BATCH_EVENTS = 128
"""About so many in one call: what waits behind it must not wait long."""


class Command:
    """What one `append` asks for, and the promise of its answer."""

    __slots__ = ("answer", "continued", "events", "side_rows", "streams")

    def __init__(
        self, events: Sequence[NewEvent], side_rows: Sequence[WrittenRow], answer: asyncio.Future[int]
    ) -> None:
        firsts = first_of_each_stream(events)
        self.events = events
        self.side_rows = side_rows
        self.streams = firsts.keys()
        self.continued = [first for first in firsts.values() if first.originator_version != 1]
        """Those that the log must check: do they follow the last event of their stream?"""
        self.answer = answer

    def succeed(self, position: int) -> None:
        """Answer with the position of the last event, unless nobody waits any more."""
        if not self.answer.done():
            self.answer.set_result(position)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless nobody waits any more."""
        if not self.answer.done():
            self.answer.set_exception(error)


def first_of_each_stream(events: Sequence[NewEvent]) -> dict[UUID, NewEvent]:
    """Find each stream's first event; VersionConflict when the others do not follow it one by one."""
    firsts: dict[UUID, NewEvent] = {}
    versions: dict[UUID, int] = {}
    for event in events:
        stream, version = event.originator_id, event.originator_version
        if stream not in firsts:
            firsts[stream] = event
        elif version != versions[stream] + 1:
            raise VersionConflict(stream, version)
        versions[stream] = version
    return firsts


class CommandQueue:
    """First in, first out for each stream; bounded."""

    def __init__(self, limit: int = WAITING_COMMANDS) -> None:
        self._limit = limit
        self._waiting: deque[Command] = deque()
        self._being_written: set[UUID] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def put(self, command: Command) -> None:
        """Queue a command, or raise LogOverloaded, or LogUnavailable after `close`."""
        if self._closed:
            raise LogUnavailable("this process is stopping")
        if len(self._waiting) >= self._limit:
            raise LogOverloaded(f"{self._limit} commands are waiting")
        self._waiting.append(command)
        self._wake(1)

    def close(self) -> None:
        """Take no new commands; those that wait are still written."""
        self._closed = True
        self._wake(len(self._idle))

    async def next_batch(self) -> list[Command]:
        """Wait for commands and take a batch; an empty one means: closed, and nothing is left.

        Any number may take batches at once. Each says `written` when its batch is done with.
        """
        while True:
            if batch := self._take():
                return batch
            if self._closed and not self._waiting:
                return []
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle

    def written(self, batch: Sequence[Command]) -> None:
        """Let those go on that wait for a stream of this batch."""
        for command in batch:
            self._being_written -= command.streams
        if self._waiting or self._closed:
            self._wake(len(self._idle))

    def _wake(self, how_many: int) -> None:
        """Wake so many of those who found nothing; one more command is work for one of them."""
        for _ in range(min(how_many, len(self._idle))):
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)

    def _take(self) -> list[Command]:
        """Take from the front; of one stream only one command, and never one that another waits before.

        Two of one stream in one call would both fail or both win; apart, the second is told of the first.
        """
        batch: list[Command] = []
        later: list[Command] = []
        streams = set(self._being_written)
        looked_at = events = 0
        most = self._most()
        while self._waiting and looked_at < most and events < BATCH_EVENTS:
            command = self._waiting.popleft()
            if command.answer.done():  # its caller went away before anything was written
                continue
            looked_at += 1
            if streams.isdisjoint(command.streams):
                batch.append(command)
                events += len(command.events)
                self._being_written |= command.streams
            else:
                later.append(command)
            streams |= command.streams
        self._waiting.extendleft(reversed(later))
        return batch

    def _most(self) -> int:
        """Half of what waits, while nothing is being written: so that the other half is under way as well."""
        return BATCH_EVENTS if self._being_written else (len(self._waiting) + 1) // 2
