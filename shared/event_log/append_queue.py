"""The queue of commands that wait to be written, and how a batch is taken from it (ADR 0001)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import orjson

from shared.event_log.errors import LogOverloaded, LogUnavailable, VersionConflict
from shared.event_log.types import NewEvent, SideRow

Group = tuple[str, tuple[str, ...], bool]
"""Rows that one INSERT can take: table, columns, or_ignore."""

WrittenRow = tuple[Group, bytes]
"""A row's group and its values as JSON."""


def write_rows(rows: Sequence[SideRow]) -> list[WrittenRow]:
    """Write rows as JSON: here, so that a value that cannot be written fails its own command only."""
    return [
        (
            (row.table, tuple(row.values), row.or_ignore),
            orjson.dumps(dict(row.values), default=_as_postgres_reads_it),
        )
        for row in rows
    ]


def join_rows(rows: Iterable[WrittenRow]) -> str | None:
    """Join the rows of a batch into the parameter of `append_events`; None when there are none."""
    groups: dict[Group, list[orjson.Fragment]] = {}
    for group, values in rows:
        groups.setdefault(group, []).append(orjson.Fragment(values))
    if not groups:
        return None
    return orjson.dumps(
        [
            {"table": table, "columns": columns, "or_ignore": or_ignore, "rows": values}
            for (table, columns, or_ignore), values in groups.items()
        ]
    ).decode()


def _as_postgres_reads_it(value: Any) -> str:
    """Write bytes, and asyncpg's own kind of UUID, which orjson does not know."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a side row cannot hold a {type(value).__qualname__}")


class Command:
    """What one `append` asks for, and the promise of its answer."""

    __slots__ = ("answer", "continued", "events", "side_rows", "streams")

    def __init__(
        self, events: Sequence[NewEvent], side_rows: Sequence[WrittenRow], answer: asyncio.Future[int]
    ) -> None:
        firsts = first_of_each_stream(events)
        self.events = events
        self.side_rows = side_rows
        # A set, made of a dict and joined with other sets, is never hashed again: a UUID's hash is slow.
        self.streams = frozenset(firsts)
        self.continued = [first for first in firsts.values() if first.stream_version != 1]
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
    if len(events) == 1:
        return {events[0].stream_id: events[0]}
    firsts: dict[UUID, NewEvent] = {}
    versions: dict[UUID, int] = {}
    for event in events:
        stream, version = event.stream_id, event.stream_version
        if stream not in firsts:
            firsts[stream] = event
        elif version != versions[stream] + 1:
            raise VersionConflict(stream, version)
        versions[stream] = version
    return firsts


WAITING_COMMANDS = 4096
"""More than this many, and the answer is "overloaded": better said at once than after a time-out."""

BATCH_EVENTS = 128
"""About so many in one call: what waits behind it must not wait long."""


class Writer(Protocol):
    """Who writes batches of commands."""

    async def write(self, batch: Sequence[Command]) -> None:
        """Write commands and answer each of them."""


@dataclass(frozen=True, slots=True)
class Idle:
    """A writer who found nothing to do, and waits to be woken."""

    writer: Writer
    woken: asyncio.Future[None]


class CommandQueue:
    """First in, first out for each stream; bounded."""

    def __init__(self, limit: int = WAITING_COMMANDS) -> None:
        self._limit = limit
        self._waiting: deque[Command] = deque()
        self._being_written: set[UUID] = set()
        self._idle: deque[Idle] = deque()
        self._crowded = False
        self._closed = False

    async def submit(self, command: Command) -> int:
        """Have a command written, and give its answer.

        While commands come one by one, each is written by its own caller, in an idle writer's name: to wake
        that one, and to be woken by it, would take about as long as all else on this side of the database.
        """
        if self._crowded or self._closed or self._being_written or self._waiting or not self._idle:
            self.put(command)
            return await command.answer
        idle = self._idle.popleft()
        self._being_written |= command.streams
        try:
            await idle.writer.write([command])
        finally:
            self._idle.append(idle)
            self.written([command])
        return await command.answer

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

    async def next_batch(self, writer: Writer) -> list[Command]:
        """Wait for commands and take a batch; an empty one means: closed, and nothing is left.

        Any number may take batches at once. Each says `written` when its batch is done with.
        """
        while True:
            if batch := self._take():
                return batch
            if self._closed and not self._waiting:
                return []
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(Idle(writer, woken))
            await woken

    def written(self, batch: Sequence[Command]) -> None:
        """Let those go on that wait for a stream of this batch."""
        for command in batch:
            self._being_written -= command.streams
        if self._waiting or self._closed:
            self._wake(len(self._idle))

    def _wake(self, how_many: int) -> None:
        """Wake so many of those who found nothing; one more command is work for one of them."""
        for _ in range(min(how_many, len(self._idle))):
            woken = self._idle.popleft().woken
            if not woken.done():
                woken.set_result(None)

    def _take(self) -> list[Command]:
        """Take from the front; of one stream only one command, and never one that another waits before.

        Two of one stream in one call would both fail or both win; apart, the second is told of the first.
        """
        batch: list[Command] = []
        later: list[Command] = []
        skipped: set[UUID] = set()
        looked_at = events = 0
        most = self._most()
        while self._waiting and looked_at < most and events < BATCH_EVENTS:
            command = self._waiting.popleft()
            if command.answer.done():  # its caller went away before anything was written
                continue
            looked_at += 1
            streams = command.streams
            if streams.isdisjoint(self._being_written) and streams.isdisjoint(skipped):
                batch.append(command)
                events += len(command.events)
                self._being_written |= streams
            else:
                later.append(command)
                skipped |= streams
        self._waiting.extendleft(reversed(later))
        if batch:
            self._crowded = len(batch) > 1
        return batch

    def _most(self) -> int:
        """Half of what waits, while nothing is being written: so that the other half is under way as well."""
        return BATCH_EVENTS if self._being_written else (len(self._waiting) + 1) // 2
