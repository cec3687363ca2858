"""A small aggregate that looks like the real ones: named topics, times passed in, an event to upcast."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from eventsourcing.domain import Aggregate


class Reader(Aggregate):
    """Somebody who borrows books."""

    TOPIC = "tests.reader"

    class Event(Aggregate.Event):
        TOPIC = "tests.reader-event"

    class Enrolled(Event, Aggregate.Created):
        """Version 1 knew no fee."""

        TOPIC = "tests.reader-enrolled"
        class_version = 2

        organisation: str
        begins_on: date
        fee: Decimal
        sealed: bytes

        @staticmethod
        def upcast_v1_v2(state: dict[str, Any]) -> None:
            state["fee"] = Decimal("0.00")

    class Renewed(Event):
        TOPIC = "tests.reader-renewed"

        until: date
        by: UUID

        def apply(self, aggregate: Reader) -> None:
            aggregate.until = self.until

    def __init__(self, organisation: str, begins_on: date, fee: Decimal, sealed: bytes) -> None:
        self.organisation = organisation
        self.begins_on = begins_on
        self.fee = fee
        self.sealed = sealed
        self.until: date | None = None

    @classmethod
    def enrol(cls, *, sealed: bytes, on: date, now: datetime, reader_id: UUID | None = None) -> Reader:
        return cls._create(
            cls.Enrolled,
            id=reader_id or uuid4(),
            timestamp=now,
            organisation="1001",
            begins_on=on,
            fee=Decimal("0.00"),
            sealed=sealed,
        )

    def renew(self, *, until: date, by: UUID, now: datetime) -> None:
        self.trigger_event(self.Renewed, until=until, by=by, timestamp=now)
