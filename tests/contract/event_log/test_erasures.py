"""The row of an erasure: it deletes all rows of its subject, once and permanently (R19)."""

from uuid import UUID, uuid4

import pytest

from shared.event_log import SideRow, VersionConflict, erasure_row
from tests.support.event_log import LogUnderTest, new_event


def card(number: str, by: UUID | None) -> SideRow:
    return SideRow("cards", {"organisation": "1001", "number": number, "by": by})


async def numbers(under_test: LogUnderTest) -> set[str]:
    return {row["number"] for row in await under_test.rows("cards")}


async def test_r19_rows_of_the_subject_go_with_its_event_and_others_stay(under_test: LogUnderTest) -> None:
    erased, other = uuid4(), uuid4()
    await under_test.log.append([], [card("1", erased), card("2", erased), card("3", other), card("4", None)])

    position = await under_test.log.append([new_event(erased, 1)], [erasure_row(erased)])

    assert await numbers(under_test) == {"3", "4"}
    assert position == 1
    assert [event.erased for event in await under_test.log.read(0, 10)] == [True]
    assert [event.erased for event in await under_test.log.stream(erased)] == [True]
    await under_test.log.append([], [erasure_row(other)])
    assert await under_test.log.erasures() == [erased, other]


async def test_r19_when_the_event_is_refused_nothing_goes(under_test: LogUnderTest) -> None:
    subject = uuid4()
    await under_test.log.append([new_event(subject, 1)], [card("1", subject)])

    with pytest.raises(VersionConflict):
        await under_test.log.append([new_event(subject, 1)], [erasure_row(subject)])

    assert await numbers(under_test) == {"1"}
    assert [event.erased for event in await under_test.log.stream(subject)] == [False]
    assert not await under_test.log.erasures()


async def test_r19_a_row_that_comes_too_late_is_not_written(under_test: LogUnderTest) -> None:
    subject = uuid4()
    await under_test.log.append([], [erasure_row(subject)])

    await under_test.log.append([], [card("1", subject), card("2", uuid4())])

    assert await numbers(under_test) == {"2"}


async def test_r19_a_second_erasure_changes_nothing(under_test: LogUnderTest) -> None:
    subject = uuid4()
    await under_test.log.append([], [erasure_row(subject)])
    before = await under_test.rows("erasures")

    await under_test.log.append([], [erasure_row(subject)])

    assert await under_test.rows("erasures") == before
