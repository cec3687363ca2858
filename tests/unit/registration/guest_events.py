"""The guest of the seed in events: at 9453 (Roden), from Groningen."""

from __future__ import annotations

from datetime import date
from typing import Any

from registration.domain.contributions import RowStatus
from registration.domain.events import Encrypted, GuestImported, GuestRegistered, GuestReregistered
from registration.domain.guest import Admission, Guest, ImportedGuest, ImportedRow, Renewal
from registration.domain.login_link import NO_ACCOUNT, LinkRequest
from registration.domain.verdict import EndsOn, NotFound, PatronDetails, Reason, Refused, Unavailable, Valid
from tests.support.scenario import STREAM_ID, Event, EventsOf

GUEST_ID = STREAM_ID
SEPT_11 = date(2025, 9, 11)
SEPT_12 = date(2025, 9, 12)
SEPT_15 = date(2025, 9, 15)
happened = EventsOf(Guest)


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


def imported_guest(**changes: Any) -> ImportedGuest:
    """A guest of before, registered in 2023 and again in 2025, after an expiry."""
    values: dict[str, Any] = {
        "organisation": "1001",
        "branch": "9453",
        "home_isil": "NL-070288",
        "person_ref": "person",
        "card_has_chip": True,
        "subscription_code": "346",
        "source": "old-system",
        "registered_on": date(2023, 2, 1),
        "rows": (
            ImportedRow(date(2025, 2, 1), date(2026, 1, 31), RowStatus.VALID),
            ImportedRow(date(2024, 3, 1), date(2025, 1, 31), RowStatus.INVALID),
            ImportedRow(date(2023, 2, 1), date(2024, 2, 29), RowStatus.VALID),
        ),
        "strips_granted": True,
        "login_account_id": "acc-jan",
        "sealed_card": Encrypted(b"card"),
        "sealed_details": Encrypted(b"details"),
    }
    return ImportedGuest(**(values | changes))


def imported(**changes: Any) -> Event[Guest]:
    return happened(GuestImported, **imported_guest(**changes).fields())


def valid(ends_on: EndsOn = None) -> Valid:
    """Home says: valid until then."""
    return Valid(PatronDetails("J. Jansen"), ends_on, "0990139305")


CANCELLED = Refused((Reason.EXPIRED,), because_ended=True)
FINES = Refused((Reason.FINES,), because_ended=False)
NOT_FOUND = NotFound()
UNAVAILABLE = Unavailable("timed out")


def registered(on: date = SEPT_11, link_request: LinkRequest = NO_ACCOUNT, **changes: Any) -> Event[Guest]:
    return happened(GuestRegistered, **admission(link_request, **changes).fields(on))


def reregistered(on: date = SEPT_15, link_request: LinkRequest | None = None) -> Event[Guest]:
    return happened(GuestReregistered, patron_type="04", **renewal().fields(on, link_request))
