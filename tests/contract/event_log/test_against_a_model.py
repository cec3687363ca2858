"""Random batches of commands against a model of what a log promises (ADR 0001), on both kinds of log."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.event_log import NewEvent, SideRow, SideRowConflict, VersionConflict
from tests.support.event_log import LogUnderTest, in_memory, in_postgres, new_event

STREAMS = 3
CARDS = 4


@dataclass(frozen=True)
class Plan:
    """A command in the making: per stream how many events, and how far off the expected version."""

    streams: list[tuple[int, int, int]]
    """(which stream, how many events, versions too far: 0 is right, -1 is stale, 1 leaves a gap)"""
    cards: list[tuple[int, bool]]
    """(which card, or_ignore)"""


plans = st.builds(
    Plan,
    st.lists(
        st.tuples(st.integers(0, STREAMS - 1), st.integers(1, 3), st.sampled_from([0, 0, 0, 0, 0, -1, 1])),
        max_size=2,
        unique_by=lambda each: each[0],
    ),
    st.lists(st.tuples(st.integers(0, CARDS - 1), st.booleans()), max_size=2, unique_by=lambda each: each[0]),
)
rounds = st.lists(st.lists(plans, min_size=1, max_size=8), min_size=1, max_size=4)


@dataclass
class Model:
    """What must be true of a log, kept in plain sight."""

    base: int
    name: str = field(default_factory=lambda: str(uuid4()))
    streams: list[UUID] = field(default_factory=lambda: [uuid4() for _ in range(STREAMS)])
    log: list[NewEvent] = field(default_factory=list)
    cards: set[str] = field(default_factory=set)

    def version(self, stream: UUID, events: Sequence[NewEvent] | None = None) -> int:
        there = self.log if events is None else events
        return sum(event.stream_id == stream for event in there)

    def command(self, plan: Plan) -> tuple[list[NewEvent], list[SideRow]]:
        events = [
            new_event(stream, self.version(stream) + 1 + off + extra)
            for index, count, off in plan.streams
            for stream in [self.streams[index]]
            for extra in range(count)
            if self.version(stream) + 1 + off >= 0
        ]
        rows = [
            SideRow("cards", {"organisation": self.name, "number": str(card)}, or_ignore)
            for card, or_ignore in plan.cards
        ]
        return events, rows

    def fits(self, command: Sequence[NewEvent], log: Sequence[NewEvent]) -> bool:
        there = list(log)
        for event in command:
            expected = {0, 1} if not self.version(event.stream_id, there) else set()
            expected |= {
                1 + max((e.stream_version for e in there if e.stream_id == event.stream_id), default=0)
            }
            if event.stream_version not in expected:
                return False
            there.append(event)
        return True


Command = tuple[list[NewEvent], list[SideRow]]


async def play(under_test: LogUnderTest, script: list[list[Plan]]) -> None:
    model = Model(base=await under_test.log.position())
    for plans_at_once in script:
        commands = [model.command(plan) for plan in plans_at_once]
        answers = await asyncio.gather(
            *(under_test.log.append(events, rows) for events, rows in commands), return_exceptions=True
        )
        before = len(model.log)
        check_versions(model, commands, answers)
        check_cards(model, commands, answers)
        await check_log(under_test, model, before)


def check_versions(model: Model, commands: Sequence[Command], answers: Sequence[int | BaseException]) -> None:
    """In the order of their positions every success fits; a conflict did not fit at some moment."""
    moments = [list(model.log)]
    done = [(answer, events) for (events, _), answer in zip(commands, answers, strict=True) if events]
    for position, events in sorted((a, e) for a, e in done if isinstance(a, int)):
        assert model.fits(events, model.log)
        model.log += events
        assert position == model.base + len(model.log)
        moments.append(list(model.log))
    for answer, events in done:
        if isinstance(answer, VersionConflict):
            assert not all(model.fits(events, moment) for moment in moments)
    for answer in answers:
        assert isinstance(answer, int | VersionConflict | SideRowConflict), answer


def check_cards(model: Model, commands: Sequence[Command], answers: Sequence[int | BaseException]) -> None:
    """A card is won at most once; a command that lost one lost it to a row that is there."""
    there = set(model.cards)
    for (_, rows), answer in zip(commands, answers, strict=True):
        if isinstance(answer, int):
            won = {str(row.values["number"]) for row in rows if not row.or_ignore}
            assert won.isdisjoint(there)
            there |= won
    for (_, rows), answer in zip(commands, answers, strict=True):
        if isinstance(answer, int):
            there |= {str(row.values["number"]) for row in rows}
    for (_, rows), answer in zip(commands, answers, strict=True):
        if isinstance(answer, SideRowConflict):
            assert any(str(row.values["number"]) in there for row in rows if not row.or_ignore)
    model.cards = there


async def check_log(under_test: LogUnderTest, model: Model, before: int) -> None:
    """The log has exactly the model's events, at positions without gap; and exactly its rows."""
    recorded = await under_test.log.read(model.base + before, 1000)
    assert [event.event_id for event in recorded] == [event.event_id for event in model.log[before:]]
    assert [event.position for event in recorded] == [
        model.base + place + 1 for place in range(before, len(model.log))
    ]
    rows = [row for row in await under_test.rows("cards") if row["organisation"] == model.name]
    assert sorted(row["number"] for row in rows) == sorted(model.cards)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@given(script=rounds)
@settings(max_examples=150, deadline=None)
def test_in_memory_keeps_what_the_model_promises(runner: asyncio.Runner, script: list[list[Plan]]) -> None:
    async def play_once() -> None:
        async with in_memory() as under_test:
            await play(under_test, script)

    runner.run(play_once())


@given(script=rounds)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgres_keeps_what_the_model_promises(
    runner: asyncio.Runner, database_log: LogUnderTest, script: list[list[Plan]]
) -> None:
    runner.run(play(database_log, script))


@pytest.fixture
def database_log(runner: asyncio.Runner, database: str) -> Iterator[LogUnderTest]:
    stack = AsyncExitStack()
    yield runner.run(stack.enter_async_context(in_postgres(database)))
    runner.run(stack.aclose())
