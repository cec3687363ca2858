"""Erasures beside all else: locks are taken in one order, and no reader pays for there being many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from shared.event_log import EventLog, SideRow, erasure_row
from shared.event_log.reading import BEYOND, STREAM, STREAMS
from shared.platform.postgres import SERVER_SETTINGS
from tests.support.event_log import in_postgres, new_event
from tests.support.servers import as_owner

WRITERS, GUESTS = 8, 40


async def registered_and_erased(log: EventLog, writer: int) -> None:
    """Guest after guest, each with rows in a table that its erasure locks; every second one is erased."""
    for number in range(GUESTS):
        guest = uuid4()
        card = SideRow("cards", {"organisation": "1001", "number": f"{writer}-{number}", "by": guest})
        await log.append([new_event(guest, 1)], [card])
        if number % 2:
            await log.append([new_event(guest, 2)], [erasure_row(guest)])


async def test_r19_an_erasure_and_an_append_never_wait_for_each_other(database: str) -> None:
    """The server ends a deadlock after a second and all goes on: only a line in the log shows it."""
    async with in_postgres(database) as one, in_postgres(database) as other:
        with capture_logs() as lines:
            logs = [one.log, other.log] * (WRITERS // 2)
            async with asyncio.TaskGroup() as tasks:
                for writer, log in enumerate(logs):
                    tasks.create_task(registered_and_erased(log, writer))
        assert not [line for line in lines if line["event"] == "event_log.append_retried"]
        assert await one.log.position() == WRITERS * GUESTS * 3 // 2
        assert len(await one.rows("cards")) == WRITERS * GUESTS // 2


@pytest.fixture
async def with_many_erasures(database: str) -> str:
    async with in_postgres(database) as under_test:
        await under_test.log.append([new_event(uuid4(), 1) for _ in range(5000)])
    async with as_owner(database) as owner:
        await owner.execute("INSERT INTO erasures SELECT gen_random_uuid() FROM generate_series(1, 20000)")
        await owner.execute(
            "INSERT INTO data_keys SELECT gen_random_uuid(), '\\x00' FROM generate_series(1, 20000)"
        )
        await owner.execute("ANALYZE")
    return database


def scans(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Each table that is read, and how."""
    if "Relation Name" in plan:
        yield plan["Relation Name"], plan["Node Type"]
    for part in plan.get("Plans", []):
        yield from scans(part)


@pytest.mark.parametrize(
    ("statement", "types", "values"),
    [
        (BEYOND, "bigint, int", "0, 500"),
        (STREAM, "uuid, bigint", "gen_random_uuid(), 0"),
        (STREAMS, "uuid[], bigint[]", "ARRAY[gen_random_uuid()], ARRAY[0]"),
    ],
    ids=["beyond", "stream", "streams"],
)
async def test_no_reader_reads_all_erasures_or_all_keys(
    with_many_erasures: str, statement: str, types: str, values: str
) -> None:
    """With the one plan that the services use: it was made without knowing the values."""
    connection = await asyncpg.connect(with_many_erasures, server_settings=dict(SERVER_SETTINGS))
    try:
        await connection.execute(f"PREPARE reader ({types}) AS {statement}")
        plans = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE reader ({values})"))
    finally:
        await connection.close()
    read = dict(scans(plans[0]["Plan"]))
    assert "stored_events" in read
    assert all("Index" in read[table] for table in ("erasures", "data_keys")), read
