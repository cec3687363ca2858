"""Two processes append at once, one is stopped in mid-append: no gap, no duplicate, no loss (ADR 0001)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.event_log import EventLog
from shared.event_log.postgres import APPENDERS
from tests.support.event_log import in_postgres
from tests.support.eventually import eventually

COMMANDS = 1800
LOCK = "SELECT pg_advisory_lock(hashtext('event log'), 1)"
UNLOCK = "SELECT pg_advisory_unlock(hashtext('event log'), 1)"
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'SELECT append_events($1, $2%'
"""
ROOT = Path(__file__).parents[3]


@pytest.fixture
async def log(database: str) -> AsyncIterator[EventLog]:
    async with in_postgres(database) as under_test:
        yield under_test.log


@pytest.fixture
async def watcher(log: EventLog, database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def writers(log: EventLog, database: str) -> AsyncIterator[list[Process]]:
    """Two writers that fight for one stream; none survives the test."""
    hot = uuid4()
    writers = [await start_writer(database, hot) for _ in range(2)]
    yield writers
    for writer in writers:
        if writer.returncode is None:
            writer.kill()
            await writer.communicate()


async def start_writer(database: str, hot: UUID) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.integration.event_log.writer_process", database, str(hot), str(COMMANDS)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )


async def read_report(writer: Process) -> dict[str, Any]:
    output, _ = await asyncio.wait_for(writer.communicate(), 60)
    assert writer.returncode == 0
    report: dict[str, Any] = json.loads(output)
    return report


async def both_wait_for_the_lock(watcher: asyncpg.Connection) -> bool:
    """More wait than one process has appenders."""
    return bool(await watcher.fetchval(WAITING) > APPENDERS)


async def follow(log: EventLog, seen: list[tuple[int, str]]) -> None:
    async for events in log.tail(0, batch=50):
        seen += [(event.position, str(event.event_id)) for event in events]


async def test_two_processes_append_and_one_is_stopped_in_mid_append(
    log: EventLog, writers: list[Process], watcher: asyncpg.Connection
) -> None:
    seen: list[tuple[int, str]] = []
    following = asyncio.create_task(follow(log, seen))
    await eventually(lambda: len(seen) > 100)

    # Both are in mid-append: waiting for the lock, inside their call. One is stopped there.
    await watcher.execute(LOCK)
    await eventually(lambda: both_wait_for_the_lock(watcher))
    os.kill(writers[0].pid, signal.SIGSTOP)
    await watcher.execute(UNLOCK)
    while_one_is_stopped = await log.position()
    await eventually(lambda: len(seen) > while_one_is_stopped + 300)
    os.kill(writers[0].pid, signal.SIGCONT)

    reports = [await read_report(writer) for writer in writers]
    last = await log.position()
    await eventually(lambda: len(seen) >= last)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following

    acknowledged = {**reports[0]["acknowledged"], **reports[1]["acknowledged"]}
    assert seen == sorted((position, event_id) for event_id, position in acknowledged.items())
    assert [position for position, _ in seen] == list(range(1, last + 1))
    assert last == await watcher.fetchval("SELECT count(*) FROM stored_events")
    failures = Counter(reports[0]["failures"]) + Counter(reports[1]["failures"])
    assert failures["VersionConflict"] > 10
    assert failures["SideRowConflict"] == COMMANDS // 3


async def test_a_stopped_process_delays_no_other(
    log: EventLog, writers: list[Process], watcher: asyncpg.Connection
) -> None:
    """Stopped at random moments, again and again, while the other goes on."""
    await eventually(lambda: log.wait_beyond(100, timeout=1))

    for _ in range(5):
        os.kill(writers[0].pid, signal.SIGSTOP)
        try:
            assert await log.wait_beyond(await log.position() + 100, timeout=5)
        finally:
            os.kill(writers[0].pid, signal.SIGCONT)

    for writer in writers:
        await read_report(writer)
    assert await log.position() == await watcher.fetchval("SELECT count(*) FROM stored_events")
