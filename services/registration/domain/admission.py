"""What a registration consists of, once home has agreed and personal data is sealed."""

from __future__ import annotations

from datetime import date
from typing import Any, NamedTuple

from registration.domain.events import Sealed
from registration.domain.login_link import LinkWish
from registration.domain.term import provisional_term


class Admission(NamedTuple):
    """A guest about to be registered: who, where, and with what."""

    organisation: str
    branch: str
    home_isil: str
    person_ref: str
    card_has_chip: bool
    identity_document_checked: bool
    subscription_code: str
    sealed_card: Sealed
    sealed_details: Sealed
    wish: LinkWish

    def fields(self, today: date) -> dict[str, Any]:
        """Give the fields of a GuestRegistered on this day, with its provisional term (R6)."""
        term = provisional_term(today)
        return {
            "organisation": self.organisation,
            "branch": self.branch,
            "home_isil": self.home_isil,
            "person_ref": self.person_ref,
            "card_has_chip": self.card_has_chip,
            "identity_document_checked": self.identity_document_checked,
            "subscription_code": self.subscription_code,
            "term_begin": term.begin,
            "term_end": term.end,
            "sealed_card": self.sealed_card,
            "sealed_details": self.sealed_details,
            **self.wish.fields(),
        }


class Renewal(NamedTuple):
    """An expired guest about to be registered again; `wish` None leaves the login link as it is."""

    sealed_card: Sealed
    sealed_details: Sealed
    wish: LinkWish | None = None

    def fields(self, today: date, wish: LinkWish | None) -> dict[str, Any]:
        """Give the fields of a GuestReregistered on this day, with its provisional term (R6, R14)."""
        term = provisional_term(today)
        return {
            "term_begin": term.begin,
            "term_end": term.end,
            "sealed_card": self.sealed_card,
            "sealed_details": self.sealed_details,
            **(wish or NO_WISH).fields(),
        }


NO_WISH = LinkWish(choice=None)
