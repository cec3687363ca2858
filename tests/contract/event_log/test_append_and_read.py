"""What goes in comes out: streams, positions, metadata."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from shared.event_log import EventLog, Metadata, VersionConflict
from tests.support.event_log import new_event


async def test_an_empty_log_has_position_0_and_nothing_to_read(log: EventLog) -> None:
    assert await log.position() == 0
    assert await log.read(0, 10) == []
    assert await log.stream(uuid4()) == []
    assert await log.append([]) == 0


async def test_what_was_appended_is_read_back_whole(log: EventLog) -> None:
    metadata = Metadata("clerk-7", correlation_id=uuid4(), causation_id=uuid4())
    event = new_event(uuid4(), 1, topic="guest-registered", state=b'{"a":1}', metadata=metadata)

    await log.append([event])

    [recorded] = await log.read(0, 10)
    assert (recorded.position, recorded.stream_id) == (1, event.stream_id)
    assert (recorded.stream_version, recorded.event_type, recorded.state) == (
        1,
        event.event_type,
        event.state,
    )
    assert (recorded.event_id, recorded.metadata) == (event.event_id, metadata)
    assert abs(recorded.recorded_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert await log.stream(event.stream_id) == [recorded]


async def test_an_event_without_a_cause_stays_without(log: EventLog) -> None:
    await log.append([new_event(uuid4(), 1, metadata=Metadata("nightly", uuid4()))])

    assert (await log.read(0, 1))[0].metadata.causation_id is None


async def test_append_answers_the_position_of_its_last_event(log: EventLog) -> None:
    stream, other = uuid4(), uuid4()

    assert await log.append([new_event(stream, 1), new_event(stream, 2), new_event(other, 1)]) == 3
    assert await log.append([new_event(other, 2)]) == 4
    assert await log.append([]) == 4
    assert await log.position() == 4


async def test_a_stream_is_read_from_any_version(log: EventLog) -> None:
    stream = uuid4()
    await log.append([new_event(stream, version) for version in (1, 2, 3)])

    assert [event.stream_version for event in await log.stream(stream)] == [1, 2, 3]
    assert [event.stream_version for event in await log.stream(stream, after_version=2)] == [3]


async def test_positions_are_read_from_anywhere_and_limited(log: EventLog) -> None:
    stream = uuid4()
    await log.append([new_event(stream, version) for version in (1, 2, 3, 4)])

    assert [event.position for event in await log.read(1, 2)] == [2, 3]
    assert [event.position for event in await log.read(3, 100)] == [4]
    assert await log.read(4, 100) == []


@pytest.mark.parametrize(
    ("versions_there", "versions_new"),
    [
        pytest.param([1, 2], [2], id="taken"),
        pytest.param([1, 2], [4], id="gap"),
        pytest.param([], [2], id="gap at the beginning"),
        pytest.param([1], [0], id="before the beginning"),
        pytest.param([1], [2, 2], id="twice in one command"),
        pytest.param([1], [2, 4], id="gap in one command"),
        pytest.param([1], [3, 2], id="the wrong way round"),
    ],
)
async def test_versions_of_a_stream_follow_each_other(
    log: EventLog, versions_there: list[int], versions_new: list[int]
) -> None:
    stream = uuid4()
    await log.append([new_event(stream, version) for version in versions_there])

    with pytest.raises(VersionConflict):
        await log.append([new_event(stream, version) for version in versions_new])

    assert [event.stream_version for event in await log.stream(stream)] == versions_there


async def test_a_stream_may_begin_at_0(log: EventLog) -> None:
    stream = uuid4()
    await log.append([new_event(stream, 0), new_event(stream, 1)])
    await log.append([new_event(stream, 2)])

    assert len(await log.stream(stream, after_version=-1)) == 3


async def test_a_command_over_two_streams_is_written_whole_or_not_at_all(log: EventLog) -> None:
    stream, other = uuid4(), uuid4()
    await log.append([new_event(other, 1)])

    with pytest.raises(VersionConflict):
        await log.append([new_event(stream, 1), new_event(other, 1)])

    assert await log.stream(stream) == []
    assert await log.append([new_event(stream, 1), new_event(other, 2)]) == 3
