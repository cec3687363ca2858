"""How use cases load and save aggregates."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from eventsourcing.domain import Aggregate, DomainEventProtocol
from eventsourcing.persistence import Mapper, StoredEvent

from shared.event_log.errors import AggregateNotFound
from shared.event_log.types import EventLog, Metadata, NewEvent, RecordedEvent, SideRow, mint_id

A = TypeVar("A", bound=Aggregate)


class AggregateStore:
    """Aggregates, kept as their events in an event log."""

    def __init__(self, log: EventLog, mapper: Mapper[UUID]) -> None:
        self.log = log
        self._mapper = mapper

    async def load(self, kind: type[A], id: UUID) -> A:  # noqa: A002
        """Load an aggregate from its events; AggregateNotFound when there is none of that kind."""
        aggregate = await self.find(kind, id)
        if aggregate is None:
            raise AggregateNotFound(kind, id)
        return aggregate

    async def find(self, kind: type[A], id: UUID) -> A | None:  # noqa: A002
        """Load an aggregate from its events, or None when there is none of that kind."""
        aggregate: Any = None
        for recorded in await self.log.stream(id):
            aggregate = cast("Any", self.event(recorded)).mutate(aggregate)
        return aggregate if isinstance(aggregate, kind) else None

    async def find_all(self, kind: type[A], ids: Collection[UUID]) -> dict[UUID, A]:
        """Load those of these aggregates that there are, in one read."""
        found: dict[UUID, Any] = {}
        for recorded in await self.log.streams(ids):
            stream = recorded.originator_id
            found[stream] = cast("Any", self.event(recorded)).mutate(found.get(stream))
        return {id: each for id, each in found.items() if isinstance(each, kind)}  # noqa: A001

    async def save(
        self, *aggregates: Aggregate, metadata: Metadata, side_rows: Sequence[SideRow] = ()
    ) -> int:
        """Append what is new in all of them, all or nothing; answer the position of the last event.

        After an error the aggregates are spent: load them again.
        """
        events = [
            self._new_event(event, metadata)
            for aggregate in aggregates
            for event in aggregate.collect_events()
        ]
        return await self.log.append(events, side_rows)

    def event(self, recorded: RecordedEvent) -> DomainEventProtocol[UUID]:
        """Make the domain event of a recorded one, brought up to its newest version."""
        return self._mapper.to_domain_event(
            StoredEvent(recorded.originator_id, recorded.originator_version, recorded.topic, recorded.state)
        )

    def _new_event(self, event: DomainEventProtocol[UUID], metadata: Metadata) -> NewEvent:
        stored = self._mapper.to_stored_event(event)
        return NewEvent(
            originator_id=event.originator_id,
            originator_version=stored.originator_version,
            topic=stored.topic,
            state=stored.state,
            event_id=mint_id(),
            metadata=metadata,
        )
