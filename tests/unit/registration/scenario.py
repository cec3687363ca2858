"""Given these events, when this command, then these events or this error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

import pytest

from registration.domain.events import Encrypted, GuestEvent, GuestRegistered
from registration.domain.guest import Admission, Guest, Renewal
from registration.domain.login_link import NO_ACCOUNT, LinkRequest
from registration.domain.verdict import EndsOn, NotFound, PatronDetails, Reason, Refused, Unavailable, Valid
from shared.kernel.errors import RuleBroken

GUEST_ID = UUID("00000000-0000-4000-8000-000000000001")
SEPT_11 = date(2025, 9, 11)
SEPT_12 = date(2025, 9, 12)
SEPT_15 = date(2025, 9, 15)
ENVELOPE = {"originator_id", "originator_version", "originator_topic", "timestamp"}


def noon(day: date) -> datetime:
    """A moment of that day, in Amsterdam as in UTC."""
    return datetime.combine(day, time(12), tzinfo=UTC)


def admission(link_request: LinkRequest = NO_ACCOUNT, **changes: Any) -> Admission:
    """The guest of the seed: at 9453 (Roden), from Groningen."""
    values: dict[str, Any] = {
        "organisation": "1001",
        "branch": "9453",
        "home_isil": "NL-070288",
        "person_ref": "person",
        "card_has_chip": True,
        "identity_document_checked": True,
        "subscription_code": "346",
        "sealed_card": Encrypted(b"card"),
        "sealed_details": Encrypted(b"details"),
        "link_request": link_request,
    }
    return Admission(**(values | changes))


def renewal(link_request: LinkRequest | None = None) -> Renewal:
    return Renewal(Encrypted(b"card"), Encrypted(b"details"), link_request)


def valid(ends_on: EndsOn = None) -> Valid:
    """Home says: valid until then."""
    return Valid(PatronDetails("J. Jansen"), ends_on, "0990139305")


CANCELLED = Refused((Reason.EXPIRED,), because_ended=True)
FINES = Refused((Reason.FINES,), because_ended=False)
NOT_FOUND = NotFound()
UNAVAILABLE = Unavailable("timed out")


@dataclass(frozen=True)
class RecordedDomainEvent:
    """An event as a test speaks of it: its class and the fields that matter."""

    kind: type[GuestEvent]
    values: dict[str, Any]

    def describes(self, event: GuestEvent) -> bool:
        """Whether the event is of this class and has these very fields."""
        return type(event) is self.kind and all(
            getattr(event, name) == value for name, value in self.values.items()
        )

    def made(self, guest: Guest | None, day: date) -> GuestEvent:
        """The event itself, next in the guest's stream."""
        version = 1 if guest is None else guest.version + 1
        envelope: dict[str, Any] = {
            "originator_id": GUEST_ID,
            "originator_version": version,
            "timestamp": noon(day),
        }
        if issubclass(self.kind, GuestRegistered):
            envelope["originator_topic"] = Guest.TOPIC
        return self.kind(**envelope, **self.values)


def happened(kind: type[GuestEvent], **values: Any) -> RecordedDomainEvent:
    return RecordedDomainEvent(kind, values)


def registered(
    on: date = SEPT_11, link_request: LinkRequest = NO_ACCOUNT, **changes: Any
) -> RecordedDomainEvent:
    return RecordedDomainEvent(GuestRegistered, admission(link_request, **changes).fields(on))


class given:  # noqa: N801 - reads as a sentence
    """A guest to whom these things happened."""

    def __init__(self, *past: RecordedDomainEvent) -> None:
        self.guest: Guest | None = None
        for each in past:
            self.guest = each.made(self.guest, SEPT_11).mutate(self.guest)

    def when(self, command: Callable[[Guest], object]) -> Outcome:
        """What the command made of it; an error is kept for `refused`."""
        assert self.guest is not None
        before = self.guest.version
        try:
            command(self.guest)
        except RuleBroken as error:
            return Outcome(self.guest, [], error)
        events = [event for event in self.guest.collect_events() if isinstance(event, GuestEvent)]
        assert [event.originator_version for event in events] == [
            *range(before + 1, before + 1 + len(events))
        ]
        return Outcome(self.guest, events, None)


@dataclass
class Outcome:
    """The events of a command, or its error."""

    guest: Guest
    events: list[GuestEvent]
    error: RuleBroken | None

    def then(self, *expected: RecordedDomainEvent) -> Guest:
        """These events, in this order, and no other; the guest afterwards."""
        if self.error is not None:
            raise self.error
        assert len(self.events) == len(expected), [shown(event) for event in self.events]
        for event, each in zip(self.events, expected, strict=True):
            assert each.describes(event), f"{shown(event)} is not {each}"
        return self.guest

    def then_nothing(self) -> Guest:
        """No event."""
        return self.then()

    def refused(self, kind: type[RuleBroken]) -> RuleBroken:
        """This error, and no event."""
        assert self.error is not None, f"not refused: {[shown(event) for event in self.events]}"
        with pytest.raises(kind):
            raise self.error
        assert self.guest.pending_events == []
        return self.error


def shown(event: GuestEvent) -> str:
    values = {each.name: getattr(event, each.name) for each in fields(event) if each.name not in ENVELOPE}
    return f"{type(event).__name__}{values}"
