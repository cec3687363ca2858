"""The one person behind a login."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from eventsourcing.domain import Aggregate

from identity.domain.errors import MergedBefore, MergedIntoMergedRecord, MergedWithItself


class Actor(Aggregate):
    """An actor, opened with a login account, or by a first login that found no registration (I4.6).

    `organisation` says where that login was; None for the account's own actor.
    """

    TOPIC = "identity.actor"

    class Event(Aggregate.Event):
        """What happened to an actor."""

    class Opened(Event, Aggregate.Created):
        """The actor came to be."""

        TOPIC = "identity.actor-opened"
        account_id: str
        organisation: str | None

    class Merged(Event):
        """The actor is a signpost from now on, to the one that is the same person (I6).

        It happens again when that one becomes a signpost itself: a signpost never points at a signpost.
        """

        TOPIC = "identity.actor-merged"
        into: UUID

        def apply(self, aggregate: Actor) -> None:
            """Point there."""
            aggregate.merged_into = self.into
            aggregate.merged_from = []

    class DuplicateMerged(Event):
        """Another actor was the same person, and points here now (I6)."""

        TOPIC = "identity.actor-duplicate-merged"
        actor_id: UUID

        def apply(self, aggregate: Actor) -> None:
            """Remember who points here."""
            aggregate.merged_from.append(self.actor_id)

    Created = Opened  # the name under which the library looks for a first event

    def __init__(self, account_id: str, organisation: str | None) -> None:
        self.account_id = account_id
        self.organisation = organisation
        self.merged_into: UUID | None = None
        self.merged_from: list[UUID] = []

    @classmethod
    def open(cls, actor_id: UUID, *, account_id: str, organisation: str | None, now: datetime) -> Actor:
        """Open an actor."""
        return cls._create(
            cls.Opened, id=actor_id, account_id=account_id, organisation=organisation, timestamp=now
        )

    def may_be_merged(self, into: Actor) -> None:
        """Check the two themselves. Raises MergedWithItself, MergedBefore, MergedIntoMergedRecord."""
        if self.id == into.id:
            raise MergedWithItself
        if self.merged_into is not None:
            raise MergedBefore
        if into.merged_into is not None:
            raise MergedIntoMergedRecord

    def merge_into(self, into: UUID, now: datetime) -> None:
        """Point at the actor that is the same person."""
        self.trigger_event(self.Merged, into=into, timestamp=now)

    def absorb(self, actor_id: UUID, now: datetime) -> None:
        """Be the one to whom that actor points now."""
        self.trigger_event(self.DuplicateMerged, actor_id=actor_id, timestamp=now)
