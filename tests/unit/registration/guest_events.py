"""The guest of the seed in events: at 9453 (Roden), from Groningen."""

from __future__ import annotations

from datetime import date
from typing import Any

from registration.domain.events import Encrypted, GuestRegistered, GuestReregistered
from registration.domain.guest import Admission, Guest, Renewal
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
