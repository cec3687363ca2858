"""Aggregates in and out of a log, and their events as JSON that a person can read."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from asyncpg.pgproto import pgproto
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    JSONTranscoder,
    MapperDeserialisationError,
    StoredEvent,
    TranscodingNotRegisteredError,
)
from hypothesis import given
from hypothesis import strategies as st

from shared.event_log import (
    AggregateNotFound,
    AggregateStore,
    InMemoryDataKeys,
    InMemoryEventLog,
    Metadata,
    SideRow,
    VersionConflict,
    make_mapper,
)
from shared.event_log.aggregate_store import BytesAsBase64, DateAsISO, make_transcoder
from tests.support.event_log import Reader

NOW = datetime(2025, 9, 11, 12, tzinfo=UTC)
METADATA = Metadata("clerk-7", uuid4(), uuid4())


class Shelf(Aggregate):
    """Another kind of thing."""


@pytest.fixture
def log() -> InMemoryEventLog:
    return InMemoryEventLog()


@pytest.fixture
def store(log: InMemoryEventLog) -> AggregateStore:
    return AggregateStore(log, make_mapper(), InMemoryDataKeys(log).unwrap)


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


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.just(UTC))
    | st.decimals(allow_nan=False)
)
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@given(st.dictionaries(st.text(), values))
def test_every_value_comes_back_as_it_was(state: dict[str, Any]) -> None:
    transcoder = make_transcoder()

    assert transcoder.decode(transcoder.encode(state)) == state


def test_an_event_is_readable() -> None:
    reader = Reader.enrol(sealed=b"\x00\xff", on=date(2025, 9, 11), now=NOW)
    [event] = reader.collect_events()

    stored = make_mapper().to_stored_event(event)

    assert stored.topic == "tests.reader-enrolled"
    state = orjson.loads(stored.state)
    assert state["organisation"] == "1001"
    assert state["begins_on"] == {"_type_": "date_iso", "_data_": "2025-09-11"}
    assert state["fee"] == {"_type_": "decimal_str", "_data_": "0.00"}
    assert state["sealed"] == {"_type_": "bytes_base64", "_data_": "AP8="}


def test_the_librarys_own_transcoder_reads_it() -> None:
    theirs = JSONTranscoder()
    theirs.register(DateAsISO())
    theirs.register(BytesAsBase64())
    value = {"day": date(2025, 9, 11), "bytes": b"\x00", "text": "é"}

    assert theirs.decode(make_transcoder().encode(value)) == value


def test_an_event_of_version_1_is_brought_up_to_date_when_read() -> None:
    """Upcasting is the library's: class_version and upcast_v1_v2 of the event class."""
    old_state = make_transcoder().encode(
        {
            "timestamp": NOW,
            "originator_topic": "tests.reader",
            "organisation": "1001",
            "begins_on": date(2025, 9, 11),
            "sealed": b"",
        }
    )

    event: Any = make_mapper().to_domain_event(StoredEvent(uuid4(), 1, "tests.reader-enrolled", old_state))

    assert event.fee == Decimal("0.00")
    assert event.mutate(None).fee == Decimal("0.00")


def test_an_event_of_version_2_says_so_and_is_left_alone() -> None:
    [event] = Reader.enrol(sealed=b"", on=date(2025, 9, 11), now=NOW).collect_events()
    mapper = make_mapper()

    stored = mapper.to_stored_event(event)

    assert orjson.loads(stored.state)["class_version"] == 2
    assert mapper.to_domain_event(stored) == event


def test_an_enumeration_is_its_value() -> None:
    class Status(StrEnum):
        VALID = "Normaal"

    assert make_transcoder().encode({"status": Status.VALID}) == b'{"status":"Normaal"}'


def test_a_type_that_nobody_can_read_back_is_refused() -> None:
    with pytest.raises(TranscodingNotRegisteredError, match="complex"):
        make_transcoder().encode({"value": 1j})


def test_a_name_that_nobody_knows_is_refused() -> None:
    with pytest.raises(TranscodingNotRegisteredError, match="later_invention"):
        make_transcoder().decode(b'{"_type_":"later_invention","_data_":1}')
    with pytest.raises(MapperDeserialisationError):
        make_mapper().to_domain_event(
            StoredEvent(UUID(int=1), 1, "tests.reader-renewed", b'{"_type_":"later_invention","_data_":1}')
        )


def test_an_event_that_names_an_id_from_the_database_reads_back_as_a_plain_uuid() -> None:
    plain = uuid4()
    transcoder = make_transcoder()
    written = transcoder.encode({"guest_id": pgproto.UUID(str(plain))})
    assert written == transcoder.encode({"guest_id": plain})
    assert type(transcoder.decode(written)["guest_id"]) is UUID
