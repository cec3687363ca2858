"""A process that appends as fast as it can, with conflicts and rollbacks among it.

    python -m tests.integration.event_log.writer_process URL HOT_STREAM COMMANDS

Prints one JSON object at its end: what was acknowledged, and how many commands failed for which reason.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from uuid import UUID, uuid4

import asyncpg

from shared.event_log import EventLog, PostgresEventLog, SideRow, SideRowConflict, VersionConflict
from shared.platform.postgres import open_pool
from tests.support.event_log import new_event

WRITERS = 16
ROLLED_BACK = """
BEGIN;
SELECT append_events(
    ARRAY[gen_random_uuid()], '{1}', '{topic}', '{state}', ARRAY[gen_random_uuid()],
    '{somebody}', ARRAY[gen_random_uuid()], '{NULL}', '{}', '{}', NULL
);
ROLLBACK
"""


class Writer:
    """Counts the replies."""

    def __init__(self, log: EventLog, hot: UUID) -> None:
        self.log = log
        self.hot = hot
        self.acknowledged: dict[str, int] = {}
        self.failures: Counter[str] = Counter()

    async def write(self, turn: int) -> None:
        """Every third command fights for a stream or a row that the other process wants as well."""
        events = [new_event(uuid4(), 1), new_event(uuid4(), 1)]
        rows: list[SideRow] = []
        if turn % 3 == 0:
            version = 1 + len(await self.log.stream(self.hot))
            events.append(new_event(self.hot, version))
        elif turn % 3 == 1:
            rows = [SideRow("cards", {"organisation": "1001", "number": str(turn)})]
        try:
            position = await self.log.append(events, rows)
        except (VersionConflict, SideRowConflict) as conflict:
            self.failures[type(conflict).__name__] += 1
        else:
            for place, event in enumerate(reversed(events)):
                self.acknowledged[str(event.event_id)] = position - place


async def roll_back_now_and_then(pool: asyncpg.Pool) -> None:
    """A client whose appends are rolled back; in one message, so that it does not keep the lock for long."""
    while True:
        await pool.execute(ROLLED_BACK)
        await asyncio.sleep(0.02)


async def main(url: str, hot: UUID, commands: int) -> None:
    async with await open_pool(url, min_size=4, max_size=8) as pool, PostgresEventLog(pool) as log:
        writer = Writer(log, hot)
        turns = iter(range(commands))

        async def take_turns() -> None:
            for turn in turns:
                await writer.write(turn)

        other = asyncio.create_task(roll_back_now_and_then(pool))
        await asyncio.gather(*(take_turns() for _ in range(WRITERS)))
        other.cancel()
        await asyncio.wait([other])
    report = {"acknowledged": writer.acknowledged, "failures": writer.failures}
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], UUID(sys.argv[2]), int(sys.argv[3])))
