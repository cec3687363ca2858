"""Aggregates in and out of a log."""

from datetime import UTC, date, datetime
from uuid import uuid4

import pytest
from eventsourcing.domain import Aggregate

from shared.event_log import (
    AggregateNotFound,
    AggregateStore,
    InMemoryEventLog,
    Metadata,
    SideRow,
    VersionConflict,
    make_mapper,
)
from tests.support.guestlike import Reader

NOW = datetime(2025, 9, 11, 12, tzinfo=UTC)
METADATA = Metadata("clerk-7", uuid4(), uuid4())


class Shelf(Aggregate):
    """Another kind of thing."""


@pytest.fixture
def log() -> InMemoryEventLog:
    return InMemoryEventLog()


@pytest.fixture
def store(log: InMemoryEventLog) -> AggregateStore:
    return AggregateStore(log, make_mapper())


def enrolled() -> Reader:
    return Reader.enrol(sealed=b"s", on=date(2025, 9, 11), now=NOW)


async def test_what_was_saved_is_loaded(store: AggregateStore) -> None:
    reader = enrolled()
    reader.renew(until=date(2026, 1, 1), by=uuid4(), now=NOW)

    assert await store.save(reader, metadata=METADATA) == 2

    assert await store.load(Reader, reader.id) == reader
    assert (await store.load(Reader, reader.id)).version == 2


async def test_one_save_spans_aggregates_and_side_rows(log: InMemoryEventLog, store: AggregateStore) -> None:
    one, other = enrolled(), enrolled()

    assert await store.save(one, other, metadata=METADATA, side_rows=[SideRow("notes", {"n": 1})]) == 2

    assert log.rows("notes") == [{"n": 1}]
    recorded = await log.read(0, 10)
    assert [event.metadata for event in recorded] == [METADATA, METADATA]
    assert len({event.event_id for event in recorded}) == 2


async def test_saving_nothing_new_appends_nothing(log: InMemoryEventLog, store: AggregateStore) -> None:
    reader = enrolled()
    await store.save(reader, metadata=METADATA)

    assert await store.save(reader, metadata=METADATA) == 1


async def test_two_who_loaded_the_same_cannot_both_save(store: AggregateStore) -> None:
    reader = enrolled()
    await store.save(reader, metadata=METADATA)
    one, other = await store.load(Reader, reader.id), await store.load(Reader, reader.id)
    for each in (one, other):
        each.renew(until=date(2026, 1, 1), by=uuid4(), now=NOW)

    await store.save(one, metadata=METADATA)
    with pytest.raises(VersionConflict):
        await store.save(other, metadata=METADATA)


async def test_what_is_not_there_is_not_found(store: AggregateStore) -> None:
    nobody = uuid4()

    assert await store.find(Reader, nobody) is None
    with pytest.raises(AggregateNotFound, match=str(nobody)):
        await store.load(Reader, nobody)


async def test_an_aggregate_of_another_kind_is_not_found(store: AggregateStore) -> None:
    reader = enrolled()
    await store.save(reader, metadata=METADATA)

    with pytest.raises(AggregateNotFound):
        await store.load(Shelf, reader.id)


async def test_a_recorded_event_becomes_its_domain_event(
    log: InMemoryEventLog, store: AggregateStore
) -> None:
    reader = enrolled()
    [event] = reader.pending_events
    await store.save(reader, metadata=METADATA)

    assert store.event((await log.read(0, 1))[0]) == event
