"""Given these events, when this command, then these events or this error: for aggregates of both services.

    guest_event = EventsOf(Guest)
    given(guest_event(GuestRegistered, …)).when(erase).then(guest_event(PersonalDataErased, on=SEPT_15))

An expected event has all fields of its class; left out is what every event has: stream id, version, time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, Generic, TypeVar
from uuid import UUID

import pytest
from eventsourcing.domain import Aggregate
from eventsourcing.utils import get_topic

from shared.kernel.errors import RuleBroken

A = TypeVar("A", bound=Aggregate)
STREAM_ID = UUID("00000000-0000-4000-8000-000000000001")
ENVELOPE = frozenset({"originator_id", "originator_version", "originator_topic", "timestamp"})


def noon(day: date) -> datetime:
    """Noon in UTC; in Amsterdam it is the same day."""
    return datetime.combine(day, time(12), tzinfo=UTC)


NOW = noon(date(2025, 9, 11))


@dataclass(frozen=True)
class Event(Generic[A]):
    """An event of an aggregate, as a test writes it: its class and all fields of that class."""

    aggregate: type[A]
    kind: type[Any]
    fields: dict[str, Any]

    def after(self, aggregate: A | None) -> A:
        """Return the aggregate after this event. None: the event is its first."""
        envelope: dict[str, Any] = {
            "originator_id": STREAM_ID if aggregate is None else aggregate.id,
            "originator_version": 1 if aggregate is None else aggregate.version + 1,
            "timestamp": NOW,
        }
        if issubclass(self.kind, Aggregate.Created):
            envelope["originator_topic"] = get_topic(self.aggregate)
        changed: A = self.kind(**envelope, **self.fields).mutate(aggregate)
        return changed

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        return f"{self.kind.__qualname__}({fields})"


@dataclass(frozen=True)
class EventsOf(Generic[A]):
    """Makes the events of one kind of aggregate."""

    aggregate: type[A]

    def __call__(self, kind: type[Any], **fields: Any) -> Event[A]:
        """An event of this class with these fields."""
        return Event(self.aggregate, kind, fields)


class given(Generic[A]):  # noqa: N801 - reads as a sentence
    """An aggregate to which these events happened."""

    def __init__(self, first: Event[A], *more: Event[A]) -> None:
        self.aggregate = first.after(None)
        for event in more:
            self.aggregate = event.after(self.aggregate)

    def when(self, command: Callable[[A], object]) -> Outcome[A]:
        """Run the command on the aggregate. An error is kept for `refused`."""
        version = self.aggregate.version
        try:
            returned = command(self.aggregate)
        except RuleBroken as error:
            return Outcome(self.aggregate, error=error)
        pending = self.aggregate.collect_events()
        assert [event.originator_version for event in pending] == [
            *range(version + 1, version + 1 + len(pending))
        ]
        return Outcome(self.aggregate, [as_written(self.aggregate, event) for event in pending], returned)


def begun(aggregate: A) -> Outcome[A]:
    """The outcome of a command that made this aggregate."""
    return Outcome(aggregate, [as_written(aggregate, event) for event in aggregate.collect_events()])


@dataclass(frozen=True)
class Outcome(Generic[A]):
    """What a command did: its events and what it returned, or its error."""

    aggregate: A
    events: list[Event[A]] = field(default_factory=list)
    returned: object = None
    error: RuleBroken | None = None

    def then(self, *expected: Event[A]) -> A:
        """Check that these are the events, in this order, with all their fields. Returns the aggregate."""
        if self.error is not None:
            raise self.error
        assert self.events == list(expected)
        return self.aggregate

    def then_nothing(self) -> A:
        """Check that there is no event. Returns the aggregate."""
        return self.then()

    def refused(self, kind: type[RuleBroken]) -> RuleBroken:
        """Check that the command raised this error and left no event. Returns the error."""
        assert self.error is not None, f"not refused: {self.events}"
        with pytest.raises(kind):
            raise self.error
        assert self.aggregate.pending_events == []
        return self.error


def as_written(aggregate: A, event: Any) -> Event[A]:
    """An event that an aggregate triggered, as a test writes it."""
    own = {name: value for name, value in vars(event).items() if name not in ENVELOPE}
    return Event(type(aggregate), type(event), own)
