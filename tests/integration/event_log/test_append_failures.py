"""Appends that fail: conflicts among neighbours, lost answers, outages, too much at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from uuid import uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY

from shared.event_log import (
    SCHEMA,
    LogOverloaded,
    LogUnavailable,
    PostgresEventLog,
    SideRow,
    SideRowConflict,
    VersionConflict,
)
from shared.event_log.append import BATCH_EVENTS, WAITING_COMMANDS
from shared.event_log.postgres import APPENDERS
from shared.platform.postgres import open_pool
from tests.integration.event_log.lossy_proxy import LossyProxy, lossy
from tests.support.event_log import CARDS_SCHEMA, in_postgres, new_event
from tests.support.eventually import eventually
from tests.support.servers import as_owner, migrated

LOCK = "SELECT pg_advisory_lock(hashtext('event log'), 1)"
UNLOCK = "SELECT pg_advisory_unlock(hashtext('event log'), 1)"


@pytest.fixture
async def log(database: str) -> AsyncIterator[PostgresEventLog]:
    async with in_postgres(database) as under_test:
        assert isinstance(under_test.log, PostgresEventLog)
        yield under_test.log


@pytest.fixture
async def outsider(log: PostgresEventLog, database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


@pytest.fixture
async def proxied(database: str) -> AsyncIterator[tuple[PostgresEventLog, LossyProxy]]:
    """A log whose network can fail."""
    await migrated(database, [*SCHEMA, *CARDS_SCHEMA])
    async with lossy(database) as (proxy, through):
        pool = await open_pool(through, min_size=3, max_size=4)
        async with pool, PostgresEventLog(pool) as log:
            await log.append([])  # the appender has its connection, and knows the statement
            yield log, proxy


async def in_one_batch(
    log: PostgresEventLog, outsider: asyncpg.Connection, *asked: tuple[list[object], list[SideRow]]
) -> list[int | BaseException]:
    """Append all of them in one call: they gather while each appender waits for the lock with another."""
    await outsider.execute(LOCK)
    first = []
    for busy in range(1, APPENDERS + 1):
        first.append(asyncio.create_task(log.append([new_event(uuid4(), 1)])))
        await eventually(partial(wait_for_the_lock, outsider, busy))
    rest = asyncio.gather(*(log.append(*each) for each in asked), return_exceptions=True)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await outsider.execute(UNLOCK)
    await asyncio.gather(*first)
    return await rest


async def wait_for_the_lock(outsider: asyncpg.Connection, how_many: int) -> bool:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return bool(await outsider.fetchval(waiting) == how_many)


async def test_a_conflict_fails_its_own_command_only(
    log: PostgresEventLog, outsider: asyncpg.Connection
) -> None:
    taken = uuid4()
    card = SideRow("cards", {"organisation": "1001", "number": "1"})
    await log.append([new_event(taken, 1)], [card])
    asked: list[tuple[list[object], list[SideRow]]] = [([new_event(uuid4(), 1)], []) for _ in range(60)]
    asked[7] = ([new_event(taken, 1)], [])
    asked[8] = ([new_event(uuid4(), 1)], [card])
    asked[31] = ([new_event(uuid4(), 5)], [])
    asked[44] = ([new_event(uuid4(), 1)], [SideRow("cards", {"organisation": None, "number": "2"})])
    asked[59] = ([new_event(uuid4(), 1, topic="nul \0 is no text")], [])

    answers = await in_one_batch(log, outsider, *asked)

    assert isinstance(answers[7], VersionConflict)
    assert isinstance(answers[8], SideRowConflict)
    assert isinstance(answers[31], VersionConflict)
    assert isinstance(answers[44], asyncpg.NotNullViolationError)
    assert isinstance(answers[59], asyncpg.CharacterNotInRepertoireError)
    assert sorted(answer for answer in answers if isinstance(answer, int)) == list(range(4, 59))
    assert await log.position() == 58


async def test_commands_of_one_stream_are_written_in_their_order(
    log: PostgresEventLog, outsider: asyncpg.Connection
) -> None:
    stream, other = uuid4(), uuid4()

    answers = await in_one_batch(
        log,
        outsider,
        ([new_event(stream, 1)], []),
        ([new_event(stream, 2), new_event(other, 1)], []),
        ([new_event(other, 2)], []),
        ([new_event(stream, 2)], []),
        ([new_event(stream, 3)], []),
    )

    assert [isinstance(answer, int) for answer in answers] == [True, True, True, False, True]
    assert isinstance(answers[3], VersionConflict)


async def test_a_value_that_fits_no_row_is_refused_before_anything_is_written(
    log: PostgresEventLog,
) -> None:
    with pytest.raises(TypeError):
        await log.append([new_event(uuid4(), 1)], [SideRow("cards", {"organisation": object()})])

    assert await log.position() == 0


async def test_appending_again_with_the_same_ids_is_success(log: PostgresEventLog) -> None:
    stream = uuid4()
    events = [new_event(stream, 1), new_event(stream, 2)]
    card = SideRow("cards", {"organisation": "1001", "number": "1"})

    assert await log.append(events, [card]) == 2
    await log.append([new_event(stream, 3)])

    assert await log.append(events, [card]) == 2
    assert await log.position() == 3


async def test_a_lost_answer_is_asked_for_again_and_written_once(
    proxied: tuple[PostgresEventLog, LossyProxy],
) -> None:
    log, proxy = proxied
    for number in range(5):
        stream = uuid4()
        card = SideRow("cards", {"organisation": "1001", "number": str(number)})
        proxy.lose_answer_of(stream.bytes)
        answers = await asyncio.gather(
            log.append([new_event(stream, 1), new_event(stream, 2)], [card]),
            *(log.append([new_event(uuid4(), 1)]) for _ in range(9)),
        )
        positions = set(range(1 + 11 * number, 12 + 11 * number))
        assert sorted(answers) == sorted(positions - {answers[0] - 1})
    assert proxy.lost == 5
    assert await log.position() == 55


async def test_a_connection_closed_by_the_server_costs_nobody_an_event(
    log: PostgresEventLog, outsider: asyncpg.Connection
) -> None:
    others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> $1"
    )
    me = outsider.get_server_pid()

    async def write(count: int) -> list[int]:
        return [await log.append([new_event(uuid4(), 1)]) for _ in range(count)]

    writing = asyncio.gather(*(write(50) for _ in range(10)))
    for _ in range(4):
        assert await outsider.fetchval("SELECT count(*) > 0 FROM stored_events") is not None
        await outsider.execute(others, me)
        await asyncio.sleep(0.03)

    positions = [position for each in await writing for position in each]
    assert sorted(positions) == list(range(1, 501))
    assert await outsider.fetchval("SELECT max(notification_id) FROM stored_events") == 500


async def test_an_outage_is_waited_out(proxied: tuple[PostgresEventLog, LossyProxy]) -> None:
    log, proxy = proxied
    await proxy.down()
    appending = asyncio.create_task(log.append([new_event(uuid4(), 1)]))
    await asyncio.wait([appending], timeout=0.1)
    assert not appending.done()

    await proxy.up()

    assert await appending == 1


async def test_a_long_outage_is_unavailable_and_passes(
    proxied: tuple[PostgresEventLog, LossyProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, proxy = proxied
    monkeypatch.setattr("shared.platform.limits.DATABASE", 0.2)
    await proxy.down()

    with pytest.raises(LogUnavailable):
        await log.append([new_event(uuid4(), 1)])
    with pytest.raises(LogUnavailable):
        await log.read(0, 1)
    with pytest.raises(LogUnavailable):
        await log.position()

    await proxy.up()
    assert await log.append([new_event(uuid4(), 1)]) == 1
    assert len(await log.read(0, 10)) == 1


async def test_a_tail_waits_out_an_outage_too(proxied: tuple[PostgresEventLog, LossyProxy]) -> None:
    log, proxy = proxied
    seen: list[int] = []

    async def follow() -> None:
        async for events in log.tail(0):
            seen.extend(event.position for event in events)
            if len(seen) == 2:
                return

    following = asyncio.create_task(follow())
    await log.append([new_event(uuid4(), 1)])
    await proxy.down()
    await asyncio.sleep(0)
    await proxy.up()
    await log.append([new_event(uuid4(), 1)])

    await asyncio.wait_for(following, 10)
    assert seen == [1, 2]


async def test_too_much_at_once_is_refused_at_once(
    log: PostgresEventLog, outsider: asyncpg.Connection
) -> None:
    async def append() -> int | None:
        try:
            return await log.append([new_event(uuid4(), 1)])
        except LogOverloaded:
            return None

    await outsider.execute(LOCK)
    under_way = APPENDERS * BATCH_EVENTS
    too_many = WAITING_COMMANDS + under_way + 100
    appending = [asyncio.create_task(append()) for _ in range(too_many)]
    refused, waiting = await asyncio.wait(appending, timeout=0.5)

    assert 100 <= len(refused) <= 100 + under_way
    assert {each.result() for each in refused} == {None}
    await outsider.execute(UNLOCK)
    assert sorted(filter(None, await asyncio.gather(*waiting))) == list(range(1, len(waiting) + 1))
    assert await log.position() == len(waiting)


async def test_a_caller_that_went_away_before_its_turn_writes_nothing(
    log: PostgresEventLog, outsider: asyncpg.Connection
) -> None:
    gone, stays = uuid4(), uuid4()
    await outsider.execute(LOCK)
    first = asyncio.create_task(log.append([new_event(uuid4(), 1)]))
    await asyncio.sleep(0.01)
    appending = asyncio.create_task(log.append([new_event(gone, 1)]))
    after = asyncio.create_task(log.append([new_event(stays, 1)]))
    await asyncio.sleep(0)
    appending.cancel()
    await outsider.execute(UNLOCK)
    await asyncio.gather(first, after)

    assert await log.stream(gone) == []
    assert len(await log.stream(stays)) == 1


async def test_stopping_writes_what_was_asked_for_and_takes_no_more(database: str) -> None:
    async with in_postgres(database) as under_test:
        log = under_test.log
        appending = [asyncio.create_task(log.append([new_event(uuid4(), 1)])) for _ in range(500)]
        await asyncio.sleep(0)

    assert sorted(await asyncio.gather(*appending)) == list(range(1, 501))
    with pytest.raises(LogUnavailable):
        await log.append([new_event(uuid4(), 1)])


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_server_that_does_not_have_an_acknowledged_event_is_told(
    log: PostgresEventLog, outsider: asyncpg.Connection, database: str, is_kept: bool
) -> None:
    """It was an asynchronous standby; here, what was last written is deleted between two connections."""
    before = REGISTRY.get_sample_value("event_log_ends_lost_total") or 0.0
    for _ in range(APPENDERS):
        await log.append([new_event(uuid4(), 1)])
    if not is_kept:
        async with as_owner(database) as owner:
            await owner.execute("DELETE FROM stored_events")
    await outsider.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE usename = current_user AND pid <> pg_backend_pid()"
    )
    for _ in range(2 * APPENDERS):
        await log.append([new_event(uuid4(), 1)])
    told = (REGISTRY.get_sample_value("event_log_ends_lost_total") or 0.0) - before
    assert told == (0 if is_kept else APPENDERS)
