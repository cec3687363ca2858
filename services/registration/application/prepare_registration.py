"""What the clerk is shown before somebody is registered: the home library's details, or why it cannot be."""

from __future__ import annotations

from registration.application.home import current_isil, membership_of, refs_of
from registration.application.ports import Registration
from registration.application.register_guest import not_our_own, not_registered_yet
from registration.domain.card import canonical_card_number
from registration.domain.errors import UnknownOrganisation
from registration.domain.verdict import Valid


async def prepare_registration(
    card_number: str, home_isil: str, organisation: str, registration: Registration
) -> Valid:
    """Ask home as registering will do once more (R4, R10, R11); nothing is written.

    Raises MalformedCardNumber, MalformedIsil, UnknownOrganisation, OwnLibrary, AlreadyRegistered,
    UnknownHomeLibrary, HomePatronNotFound, GuestRefused, ChainedGuest, HomeLibraryUnavailable.
    """
    known = registration.organisations.get(organisation)
    if known is None:
        raise UnknownOrganisation
    card = canonical_card_number(card_number)
    home = current_isil(home_isil, registration)
    not_our_own(home, known, registration)
    await not_registered_yet(known, refs_of(home, card, registration), registration)
    return await membership_of(home, card, registration)
