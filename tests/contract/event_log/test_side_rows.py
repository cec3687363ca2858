"""Side rows: written with the events or not at all; the first of its kind wins."""

import asyncio
import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import pytest

from shared.event_log import SideRow, SideRowConflict, VersionConflict
from tests.support.event_log import LogUnderTest, new_event


def card(number: str, *, or_ignore: bool = False, **values: object) -> SideRow:
    return SideRow("cards", {"organisation": "1001", "number": number, **values}, or_ignore)


def decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


async def test_a_row_is_written_with_its_events(under_test: LogUnderTest) -> None:
    row = card(
        "0990139305",
        by=uuid4(),
        seal=b"\x00\xffsealed",
        extra={"a": [1, None]},
        on_day=date(2025, 9, 11),
        at_time=datetime(2025, 9, 11, 12, 30, tzinfo=UTC),
        count=7,
        chip=True,
        note="quoted ' and \\ and é",
    )

    assert await under_test.log.append([new_event(uuid4(), 1)], [row]) == 1

    [found] = await under_test.rows("cards")
    assert {**found, "extra": decoded(found["extra"])} == row.values


async def test_a_row_that_is_there_already_fails_the_whole_command(under_test: LogUnderTest) -> None:
    await under_test.log.append([new_event(uuid4(), 1)], [card("1")])
    stream = uuid4()

    with pytest.raises(SideRowConflict) as conflict:
        await under_test.log.append([new_event(stream, 1)], [card("2"), card("1")])

    assert conflict.value.constraint == "cards_pkey"
    assert await under_test.log.stream(stream) == []
    assert [row["number"] for row in await under_test.rows("cards")] == ["1"]


async def test_of_several_rows_that_conflict_the_first_is_named(under_test: LogUnderTest) -> None:
    """Whoever asks again with an idempotency key is told so, and not that the person is registered."""
    key = SideRow("data_keys", {"subject_id": uuid4(), "wrapped": b"wrapped"})
    await under_test.log.append([], [key, card("1")])

    for rows, constraint in (([key, card("1")], "data_keys_pkey"), ([card("1"), key], "cards_pkey")):
        with pytest.raises(SideRowConflict) as conflict:
            await under_test.log.append([new_event(uuid4(), 1)], rows)

        assert conflict.value.constraint == constraint


async def test_two_equal_rows_in_one_command_conflict(under_test: LogUnderTest) -> None:
    with pytest.raises(SideRowConflict):
        await under_test.log.append([], [card("1"), card("1")])

    assert await under_test.rows("cards") == []


async def test_a_row_with_or_ignore_leaves_the_first(under_test: LogUnderTest) -> None:
    await under_test.log.append([], [card("1", note="first")])
    await under_test.log.append([], [card("1", or_ignore=True, note="second"), card("2", or_ignore=True)])

    assert sorted(row["number"] for row in await under_test.rows("cards")) == ["1", "2"]
    assert next(row["note"] for row in await under_test.rows("cards") if row["number"] == "1") == "first"


async def test_rows_without_events_answer_the_position_of_the_log(under_test: LogUnderTest) -> None:
    await under_test.log.append([new_event(uuid4(), 1)])

    assert await under_test.log.append([], [card("1")]) == 1


async def test_a_version_conflict_writes_no_rows(under_test: LogUnderTest) -> None:
    stream = uuid4()
    await under_test.log.append([new_event(stream, 1)])

    with pytest.raises(VersionConflict):
        await under_test.log.append([new_event(stream, 1)], [card("1")])

    assert await under_test.rows("cards") == []


async def test_of_many_at_once_one_gets_the_row(under_test: LogUnderTest) -> None:
    answers = await asyncio.gather(
        *(under_test.log.append([new_event(uuid4(), 1)], [card("1")]) for _ in range(20)),
        return_exceptions=True,
    )

    assert [answer for answer in answers if isinstance(answer, int)] == [1]
    assert sum(isinstance(answer, SideRowConflict) for answer in answers) == 19
    assert await under_test.log.position() == 1
