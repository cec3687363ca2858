"""An actor: the one person behind a login."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from eventsourcing.domain import Aggregate

from identity.domain.errors import MergedBefore, MergedIntoMergedRecord, MergedWithItself
from identity.domain.login_account import login_account_stream


class Actor(Aggregate):
    """An actor, opened with a login account or by a first login without a registration (I4, step 6).

    `organisation` is the organisation of that first login; None for the account's own actor.
    """

    TOPIC = "identity.actor"

    class Event(Aggregate.Event):
        """An event of an actor."""

    class Opened(Event, Aggregate.Created):
        """The actor was opened. `account_stream`: the stream of the account that logged in or was opened."""

        TOPIC = "identity.actor-opened"
        class_version = 2
        account_stream: UUID
        organisation: str | None

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            """Replace the account's id, which an erasure could not remove, by the account's stream."""
            state["account_stream"] = login_account_stream(state.pop("account_id"))

    class Merged(Event):
        """The actor became a merged record that points to the survivor, the same person (I6).

        The event is written again when that survivor is merged too: a merged record never points to a merged
        record (ADR 0015).
        """

        TOPIC = "identity.actor-merged"
        into: UUID

        def apply(self, aggregate: Actor) -> None:
            """Point to the survivor."""
            aggregate.merged_into = self.into
            aggregate.merged_from = []

    class DuplicateMerged(Event):
        """Another actor is the same person; it became a merged record that points to this one (I6)."""

        TOPIC = "identity.actor-duplicate-merged"
        actor_id: UUID

        def apply(self, aggregate: Actor) -> None:
            """Add the merged record to the list."""
            aggregate.merged_from.append(self.actor_id)

    Created = Opened  # the name under which the library looks for a first event

    def __init__(self, account_stream: UUID, organisation: str | None) -> None:
        self.account_stream = account_stream
        self.organisation = organisation
        self.merged_into: UUID | None = None
        self.merged_from: list[UUID] = []

    @classmethod
    def open(cls, actor_id: UUID, *, account_stream: UUID, organisation: str | None, now: datetime) -> Actor:
        """Open an actor under this id."""
        return cls._create(
            cls.Opened, id=actor_id, account_stream=account_stream, organisation=organisation, timestamp=now
        )

    def may_be_merged(self, into: Actor) -> None:
        """Check that this actor may be merged into another one. Does not compare birth dates.

        Raises MergedWithItself, MergedBefore, MergedIntoMergedRecord.
        """
        if self.id == into.id:
            raise MergedWithItself
        if self.merged_into is not None:
            raise MergedBefore
        if into.merged_into is not None:
            raise MergedIntoMergedRecord

    def merge_into(self, into: UUID, now: datetime) -> None:
        """Make this actor a merged record that points to the survivor."""
        self.trigger_event(self.Merged, into=into, timestamp=now)

    def absorb(self, actor_id: UUID, now: datetime) -> None:
        """Take note of a merged record that points to this actor."""
        self.trigger_event(self.DuplicateMerged, actor_id=actor_id, timestamp=now)
