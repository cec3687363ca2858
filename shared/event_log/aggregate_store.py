"""Load aggregates from the event log and save them; retry a command on conflict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast
from uuid import UUID

from eventsourcing.domain import Aggregate, DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent

from shared.event_log.errors import AggregateNotFound, LogOverloaded, VersionConflict
from shared.event_log.types import EventLog, Metadata, NewEvent, RecordedEvent, SideRow, create_id

A = TypeVar("A", bound=Aggregate)
T = TypeVar("T")
MOST_ATTEMPTS = 20
"""Each conflict means that another command of the same stream was committed, so the service makes progress.

Twenty clerks, logins and messages never work on one guest at the same moment. After that many conflicts the
caller gets "too busy".
"""


async def retry_on_conflict(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run `attempt`, which loads, decides and saves; run it again when another command was committed first.

    Returns what `attempt` returns. Raises LogOverloaded after MOST_ATTEMPTS conflicts.
    """
    for _ in range(MOST_ATTEMPTS):
        with suppress(VersionConflict):
            return await attempt()
    raise LogOverloaded(f"gave up after {MOST_ATTEMPTS} version conflicts")


class AggregateStore:
    """Loads aggregates from an event log and saves them in it."""

    def __init__(self, log: EventLog, mapper: Mapper[UUID]) -> None:
        self.log = log
        self._mapper = mapper

    async def load(self, kind: type[A], id: UUID) -> A:  # noqa: A002
        """Return an aggregate, made from its events. Raises AggregateNotFound when there is none."""
        aggregate = await self.find(kind, id)
        if aggregate is None:
            raise AggregateNotFound(kind, id)
        return aggregate

    async def find(self, kind: type[A], id: UUID) -> A | None:  # noqa: A002
        """Return an aggregate, made from its events; None when there is none of that kind."""
        aggregate: Any = None
        for recorded in await self.log.stream(id):
            aggregate = cast("Any", self.event(recorded)).mutate(aggregate)
        return aggregate if isinstance(aggregate, kind) else None

    async def save(
        self, *aggregates: Aggregate, metadata: Metadata, side_rows: Sequence[SideRow] = ()
    ) -> int:
        """Append the new events of all aggregates, all or nothing; return the position of the last event.

        After an error the aggregates cannot be used again: load new ones.
        """
        events = [
            self._new_event(event, metadata)
            for aggregate in aggregates
            for event in aggregate.collect_events()
        ]
        return await self.log.append(events, side_rows)

    def event(self, recorded: RecordedEvent) -> DomainEventProtocol[UUID]:
        """Return the domain event of a recorded event, upcast to the newest version of its type."""
        return self._mapper.to_domain_event(
            StoredEvent(recorded.stream_id, recorded.stream_version, recorded.event_type, recorded.state)
        )

    def _new_event(self, event: DomainEventProtocol[UUID], metadata: Metadata) -> NewEvent:
        stored = self._mapper.to_stored_event(event)
        return NewEvent(
            stream_id=event.originator_id,
            stream_version=stored.originator_version,
            event_type=stored.topic,
            state=stored.state,
            event_id=create_id(),
            metadata=metadata,
        )
