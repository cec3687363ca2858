"""Where a guest stands, as registration's messages told: what a recognised login reports (I7)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum


class Status(StrEnum):
    """The guest's status, in registration's own words."""

    VALID = "valid"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    DEREGISTERED = "deregistered"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """Status and the last day of the term (inclusive); `ends_on` None: open-ended (R12)."""

    status: Status
    ends_on: date | None

    def registered_until(self, ends_on: date | None) -> GuestStatus:
        """A registration or re-registration, which only a guest in good standing at home gets."""
        return GuestStatus(Status.VALID, ends_on)

    def confirmed_until(self, ends_on: date | None) -> GuestStatus:
        """The home library told when the term really ends; the status is another matter."""
        return replace(self, ends_on=ends_on)

    def expired(self) -> GuestStatus:
        """The subscription ended. Its row keeps the old end date (R15), and so does this."""
        return replace(self, status=Status.EXPIRED)

    def suspended(self) -> GuestStatus:
        """A block at home. It does not hide that a subscription has ended (R12: different states)."""
        return replace(self, status=Status.SUSPENDED) if self.status == Status.VALID else self

    def reinstated(self) -> GuestStatus:
        """The block was lifted."""
        return replace(self, status=Status.VALID) if self.status == Status.SUSPENDED else self

    def deregistered(self) -> GuestStatus:
        """The registration was a mistake (R21)."""
        return replace(self, status=Status.DEREGISTERED)

    def erased(self) -> GuestStatus:
        """The personal data was destroyed (R19); when the term would have ended is nobody's business now."""
        return GuestStatus(Status.ERASED, None)
