"""Ask the home library about a card, before there is a guest (R4)."""

from __future__ import annotations

from registration.application.home import answer_of, current_isil
from registration.application.ports import Registration
from registration.domain.card import canonical_card_number
from registration.domain.verdict import Refused, Valid


async def ask_home_patron(home_isil: str, card_number: str, registration: Registration) -> Valid | Refused:
    """Ask, and answer what the library said; a membership past its end is refused.

    Raises MalformedIsil, MalformedCardNumber, UnknownHomeLibrary, HomePatronNotFound, HomeLibraryUnavailable.
    """
    card = canonical_card_number(card_number)
    return await answer_of(current_isil(home_isil, registration), card, registration)
