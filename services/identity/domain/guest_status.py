"""The guest status: status and end of the term, as a recognised login reports them (I7)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from shared.kernel.amsterdam import day_of


class Status(StrEnum):
    """The status of a guest, with registration's names."""

    VALID = "valid"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    DEREGISTERED = "deregistered"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """Status and last day of the term, inclusive. `ends_on` None: the term is open-ended (R12).

    Of an expired guest `ends_on` is the day on which the subscription ended.
    """

    status: Status
    ends_on: date | None

    def registered_until(self, ends_on: date | None) -> GuestStatus:
        """Return the status after a registration or re-registration, which is always valid."""
        return GuestStatus(Status.VALID, ends_on)

    def confirmed_until(self, ends_on: date | None) -> GuestStatus:
        """Return the same status with the end date that the home library confirmed (R12)."""
        return replace(self, ends_on=ends_on)

    def expired(self, on: date) -> GuestStatus:
        """Return the status after an expiry on this day: it ended then, or with a term that ended before."""
        return GuestStatus(Status.EXPIRED, on if self.ends_on is None else min(on, self.ends_on))

    def suspended(self) -> GuestStatus:
        """Return the status after a block at home. Only a valid guest is suspended: an expiry stays (R12)."""
        return replace(self, status=Status.SUSPENDED) if self.status == Status.VALID else self

    def reinstated(self) -> GuestStatus:
        """Return the status after a block was lifted. Only a suspended guest becomes valid."""
        return replace(self, status=Status.VALID) if self.status == Status.SUSPENDED else self

    def deregistered(self) -> GuestStatus:
        """Return the status after a deregistration (R21) or a merge (R18)."""
        return replace(self, status=Status.DEREGISTERED)

    def erased(self) -> GuestStatus:
        """Return the status after an erasure (R19), without an end date."""
        return GuestStatus(Status.ERASED, None)


def recorded_status(status: str, ends_on: date | None, at: datetime) -> GuestStatus:
    """Return the guest status that an event of this moment holds.

    Events of earlier releases keep the end of the old term after an expiry. No subscription that had
    expired ended later than that.
    """
    recorded = GuestStatus(Status(status), ends_on)
    return recorded.expired(day_of(at)) if recorded.status == Status.EXPIRED else recorded
