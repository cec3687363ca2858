"""The one person behind a login."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from eventsourcing.domain import Aggregate


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

    Created = Opened  # the name under which the library looks for a first event

    def __init__(self, account_id: str, organisation: str | None) -> None:
        self.account_id = account_id
        self.organisation = organisation

    @classmethod
    def open(cls, actor_id: UUID, *, account_id: str, organisation: str | None, now: datetime) -> Actor:
        """Open an actor."""
        return cls._create(
            cls.Opened, id=actor_id, account_id=account_id, organisation=organisation, timestamp=now
        )
