"""Append commands to the log: gathered into batches, one round trip for each batch (ADR 0001)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import orjson
import structlog
from prometheus_client import Counter

from shared.event_log.errors import LogOverloaded, LogUnavailable, SideRowConflict, VersionConflict
from shared.event_log.types import NewEvent, SideRow
from shared.platform import limits
from shared.platform.postgres import NO_SPACE, Connection, HeldConnection, is_transient

Group = tuple[str, tuple[str, ...], bool]
"""What the rows of one INSERT have in common: table, columns, or_ignore."""

WrittenRow = tuple[Group, bytes]
"""A row's group and its values as JSON."""


def write_rows(rows: Sequence[SideRow]) -> list[WrittenRow]:
    """Return rows as JSON, each with its group. Raises TypeError for a value that cannot be written.

    Each caller does this before its command is queued, so a wrong value fails no other command.
    """
    return [
        (
            (row.table, tuple(row.values), row.or_ignore),
            orjson.dumps(dict(row.values), default=_postgres_text),
        )
        for row in rows
    ]


def join_rows(rows: Iterable[WrittenRow]) -> str | None:
    """Return the rows of a batch as the parameter `side_rows` of `append_events`; None for no rows."""
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


def _postgres_text(value: Any) -> str:
    """Return the text of bytes or of asyncpg's own UUID class: orjson knows neither."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"a side row cannot hold a {type(value).__qualname__}")


class Command:
    """One `append`: its events, its side rows, and the future of its result."""

    __slots__ = ("answer", "continued", "events", "side_rows", "streams")

    def __init__(
        self, events: Sequence[NewEvent], side_rows: Sequence[WrittenRow], answer: asyncio.Future[int]
    ) -> None:
        firsts = first_of_each_stream(events)
        self.events = events
        self.side_rows = side_rows
        # A UUID's hash is slow. A set made from a dict takes over its hashes; so does a union of sets.
        self.streams = frozenset(firsts)
        self.continued = [first for first in firsts.values() if first.stream_version != 1]
        """Events for which the log must check that they follow the last event of their stream."""
        self.answer = answer

    def succeed(self, position: int) -> None:
        """Set the result, the position of the last event, unless the caller has gone."""
        if not self.answer.done():
            self.answer.set_result(position)

    def fail(self, error: BaseException) -> None:
        """Set the error, unless the caller has gone."""
        if not self.answer.done():
            self.answer.set_exception(error)


def first_of_each_stream(events: Sequence[NewEvent]) -> dict[UUID, NewEvent]:
    """Return the first event of each stream. Raises VersionConflict when versions are not consecutive."""
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
"""When so many commands wait, a new one fails with LogOverloaded at once: better than a late time-out."""

BATCH_EVENTS = 128
"""A batch with so many events takes no more commands: those behind it must not wait long."""


class Writer(Protocol):
    """Writes batches of commands."""

    async def write(self, batch: Sequence[Command]) -> None:
        """Write commands and set the result of each of them."""


@dataclass(frozen=True, slots=True)
class Idle:
    """A writer that found no work and waits to be woken."""

    writer: Writer
    woken: asyncio.Future[None]


class CommandQueue:
    """A bounded queue that keeps the order of the commands of each stream."""

    def __init__(self, limit: int = WAITING_COMMANDS) -> None:
        self._limit = limit
        self._waiting: deque[Command] = deque()
        self._being_written: set[UUID] = set()
        self._idle: deque[Idle] = deque()
        self._crowded = False
        self._closed = False

    async def submit(self, command: Command) -> int:
        """Have a command written, and return the position of its last event.

        When the queue is empty, the caller writes directly, with an idle writer's connection: two task
        switches would double the time that is spent outside the database.
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
        """Add a command to the queue. Raises LogOverloaded, and LogUnavailable after `close`."""
        if self._closed:
            raise LogUnavailable("this process is stopping")
        if len(self._waiting) >= self._limit:
            raise LogOverloaded(f"{self._limit} commands are waiting")
        self._waiting.append(command)
        self._wake(1)

    def close(self) -> None:
        """Refuse new commands; commands that wait already are still written."""
        self._closed = True
        self._wake(len(self._idle))

    async def next_batch(self, writer: Writer) -> list[Command]:
        """Wait for commands and return a batch; it is empty when the queue is closed and no command waits.

        Several writers may have a batch at the same time. A writer calls `written` when its batch is done.
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
        """Release the streams of a batch: other commands may wait for them."""
        for command in batch:
            self._being_written -= command.streams
        if self._waiting or self._closed:
            self._wake(len(self._idle))

    def _wake(self, how_many: int) -> None:
        """Wake at most `how_many` idle writers."""
        for _ in range(min(how_many, len(self._idle))):
            woken = self._idle.popleft().woken
            if not woken.done():
                woken.set_result(None)

    def _take(self) -> list[Command]:
        """Take a batch from the front of the queue.

        It has at most one command of a stream, and commands of one stream never overtake each other. In one
        call, two commands of one stream would fail or succeed together; in two calls only the second one
        meets the conflict.
        """
        batch: list[Command] = []
        later: list[Command] = []
        skipped: set[UUID] = set()
        looked_at = events = 0
        most = self._most()
        while self._waiting and looked_at < most and events < BATCH_EVENTS:
            command = self._waiting.popleft()
            if command.answer.done():  # its caller has gone; nothing was written yet
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
        """Return how many commands to look at.

        While no batch is being written it is half of them: another writer takes the other half.
        """
        return BATCH_EVENTS if self._being_written else (len(self._waiting) + 1) // 2


APPEND = "SELECT append_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
# The same for a single event: the driver needs ten times as long for an array as for a value.
APPEND_ONE = """
SELECT append_events(
    ARRAY[$1::uuid], ARRAY[$2::bigint], ARRAY[$3::text], ARRAY[$4::bytea], ARRAY[$5::uuid],
    ARRAY[$6::text], ARRAY[$7::uuid], ARRAY[$8::uuid], $9, $10, $11
)
"""
FIND_OWN = """
SELECT notification_id FROM stored_events
WHERE originator_id = $1 AND originator_version = $2 AND event_id = $3
"""
ENDS_LOST = Counter(
    "event_log_ends_lost", "Connections to a database that does not have an event acknowledged before"
)
STREAM_CONSTRAINTS = frozenset({"stored_events_pkey", "stored_events_gap"})

log = structlog.get_logger(__name__)


class Appender:
    """A task that writes batches of commands from a queue to the log, on its own connection.

    A process has two. While the database writes the batch of one, the callers of the other get their results
    and prepare their next commands. The appenders of all processes wait for the same lock of the log.
    """

    def __init__(self, connection: HeldConnection, queue: CommandQueue) -> None:
        self._connection = connection
        self._queue = queue
        self._last: tuple[UUID, int, UUID] | None = None
        """Stream, version and id of the last event that was acknowledged here."""
        self._last_is_on: Connection | None = None
        """The connection on whose server that event is."""

    async def run(self) -> None:
        """Write batch after batch until the queue is closed and empty."""
        while batch := await self._queue.next_batch(self):
            try:
                await self.write(batch)
            finally:
                self._queue.written(batch)

    async def write(self, batch: Sequence[Command]) -> None:
        """Write commands in one call and set the result of each of them."""
        try:
            await self._write(batch)
        except Exception as error:  # no caller is left waiting, and the next batch may succeed
            for command in batch:
                command.fail(error)

    async def _write(self, commands: Sequence[Command]) -> None:
        """Write commands and set their results.

        When the call fails, write both halves apart, until only the commands that cause the failure fail.
        """
        try:
            position = await self._fetch_value(*_statement(commands))
        except LogUnavailable:
            raise
        except Exception as error:
            if len(commands) == 1:
                await self._refuse(commands[0], error)
            else:
                half = len(commands) // 2
                await self._write(commands[:half])
                await self._write(commands[half:])
        else:
            if last := next((command.events[-1] for command in reversed(commands) if command.events), None):
                self._last = (last.stream_id, last.stream_version, last.event_id)
            _set_results(commands, position)

    async def _refuse(self, command: Command, error: Exception) -> None:
        """Set the error of a failed command; or its result, if an earlier try was written after all."""
        if not isinstance(error, asyncpg.UniqueViolationError):
            command.fail(error)
            return
        position = await self._own_position(command)
        if position is not None:
            command.succeed(position)
        elif error.constraint_name in STREAM_CONSTRAINTS:
            command.fail(VersionConflict(str(error)))
        else:
            command.fail(SideRowConflict(error.constraint_name or ""))

    async def _own_position(self, command: Command) -> int | None:
        if not command.events:
            return None
        last = command.events[-1]
        found: int | None = await self._fetch_value(
            FIND_OWN, last.stream_id, last.stream_version, last.event_id
        )
        return found

    async def _fetch_value(self, statement: str, *arguments: Any) -> Any:
        """Run a statement and return its value; retry with growing pauses while the database is away.

        A retry is safe: if the first try was written, the retry conflicts with our own event ids. Raises
        LogUnavailable after `limits.DATABASE`.
        """
        pause = 0.02
        reason = "no answer in time"
        try:
            async with asyncio.timeout(limits.DATABASE):
                while True:
                    try:
                        connection = await self._connection.get()
                        await self._look_for_last(connection)
                        return await connection.fetchval(statement, *arguments)
                    except Exception as error:
                        if not is_transient(error):
                            raise
                        reason = type(error).__name__
                        if isinstance(error, NO_SPACE):  # it says so at once, and nothing was written
                            raise LogUnavailable(reason) from error
                        await self._connection.drop(error)
                        log.warning("event_log.append_retried", reason=reason)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 1.0)
        except TimeoutError as error:
            raise LogUnavailable(reason) from error

    async def _look_for_last(self, connection: Connection) -> None:
        """Log and count a new connection to a server without the last event that was acknowledged.

        It was an asynchronous standby, or an older backup: its log lost its end (ADR 0034).
        """
        if connection is self._last_is_on:
            return
        if self._last is not None and await connection.fetchval(FIND_OWN, *self._last) is None:
            stream_id, version, _ = self._last
            ENDS_LOST.inc()
            log.error("event_log.end_lost", stream_id=str(stream_id), version=version)
            self._last = None
        self._last_is_on = connection


def _set_results(commands: Sequence[Command], last_position: int) -> None:
    position = last_position - sum(len(command.events) for command in commands)
    for command in commands:
        position += len(command.events)
        command.succeed(position)


def _statement(commands: Sequence[Command]) -> tuple[Any, ...]:
    """Return the statement for a batch and its parameters: one array for each column of the events."""
    events = list(chain.from_iterable(command.events for command in commands))
    continued = [first for command in commands for first in command.continued]
    beside = (
        [first.stream_id for first in continued],
        [first.stream_version for first in continued],
        join_rows(chain.from_iterable(command.side_rows for command in commands)),
    )
    if len(events) == 1:
        return APPEND_ONE, *_row(events[0]), *beside
    columns = zip(*map(_row, events), strict=True) if events else ((),) * 8
    return APPEND, *columns, *beside


def _row(event: NewEvent) -> tuple[Any, ...]:
    metadata = event.metadata
    return *event[:5], metadata.caused_by, metadata.correlation_id, metadata.causation_id
