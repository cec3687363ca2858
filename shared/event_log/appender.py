"""Write commands to the log, many in one round trip (ADR 0001)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

import asyncpg
import structlog

from shared.event_log.append_queue import Command, CommandQueue, join_rows
from shared.event_log.errors import LogUnavailable, SideRowConflict, VersionConflict
from shared.event_log.types import NewEvent
from shared.platform.postgres import HeldConnection, is_transient

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
GIVE_UP_SECONDS = 10.0
"""How long a command is tried again while the database cannot be reached."""

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
        LogUnavailable after GIVE_UP_SECONDS.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GIVE_UP_SECONDS
        pause = 0.02
        while True:
            try:
                connection = await self._connection.get()
                return await connection.fetchval(statement, *arguments, timeout=GIVE_UP_SECONDS)
            except Exception as error:
                if not is_transient(error):
                    raise
                await self._connection.drop()
                log.warning("event_log.append_retried", reason=type(error).__name__)
                if loop.time() + pause > deadline:
                    raise LogUnavailable(type(error).__name__) from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)


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
