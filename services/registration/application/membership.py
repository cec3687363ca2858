"""Which library is home, and what it says of a card: the same way for all use cases."""

from __future__ import annotations

from registration.application.dependencies import Dependencies
from registration.application.find_home_library import look_up_home_library
from registration.domain.errors import (
    AmbiguousHomeLibrary,
    ChainedGuest,
    GuestRefused,
    HomeLibraryUnavailable,
    HomeLibraryUnknownForCard,
    HomePatronNotFound,
)
from registration.domain.verdict import NotFound, Reason, Refused, Unavailable, Valid
from shared.kernel.amsterdam import day_of
from shared.kernel.library_card import Isil, canonical_card_number, person_ref


async def home_isil(typed: str | None, card_number: str, deps: Dependencies) -> Isil:
    """Give the home library's ISIL as it is now (R3): the typed one, or the one that the card tells (R2).

    Raises MalformedIsil, AmbiguousHomeLibrary, HomeLibraryUnknownForCard.
    """
    if typed is not None:
        return current_isil(typed, deps)
    found = await look_up_home_library(card_number, deps)
    if found.match == "ambiguous":
        raise AmbiguousHomeLibrary(found.candidates)
    if found.match == "none":
        raise HomeLibraryUnknownForCard
    return current_isil(found.candidates[0].isil, deps)


def current_isil(typed: str, deps: Dependencies) -> Isil:
    """Read an ISIL, and follow a library that merged into another (R3). Raises MalformedIsil."""
    return Isil.parse(typed).surviving(deps.isil_aliases)


async def answer_of(isil: Isil, card_number: str, deps: Dependencies) -> Valid | Refused:
    """Ask home (R4). A membership that is past its end is refused as such, whatever else home says of it.

    Raises UnknownHomeLibrary, HomePatronNotFound, HomeLibraryUnavailable.
    """
    match await deps.home_libraries.ask(str(isil), card_number):
        case NotFound():
            raise HomePatronNotFound
        case Unavailable():
            raise HomeLibraryUnavailable
        case Valid() as valid if valid.has_ended(day_of(deps.clock.now())):
            return Refused(
                (Reason.EXPIRED,),
                because_ended=True,
                details=valid.details,
                ends_on=valid.ends_on,
                canonical_card_number=valid.canonical_card_number,
            )
        case verdict:
            return verdict


async def membership_of(isil: Isil, card_number: str, deps: Dependencies) -> Valid:
    """Ask home for a membership that a guest can be registered on (R4, R11).

    Raises GuestRefused, ChainedGuest, and what `answer_of` raises.
    """
    verdict = await answer_of(isil, card_number, deps)
    if isinstance(verdict, Refused):
        raise GuestRefused(verdict.reasons)
    if verdict.is_guest_subscription:
        raise ChainedGuest
    return verdict


def refs_of(isil: Isil, card_number: str, deps: Dependencies) -> list[str]:
    """Give the references under which indexes and messages may know this person, today's first.

    The others are those of libraries that merged into this one: who was registered before the merger is found
    afterwards, and the other way round (R3, R10).
    """
    aliases = deps.isil_aliases
    merged = [base for base in aliases if Isil(base).surviving(aliases).same_library(isil)]
    return [person_ref(deps.person_ref_key, base, card_number) for base in (isil.base, *merged)]


async def ask_home_patron(home_isil: str, card_number: str, deps: Dependencies) -> Valid | Refused:
    """Ask, and answer what the library said; a membership past its end is refused.

    Raises MalformedIsil, MalformedCardNumber, UnknownHomeLibrary, HomePatronNotFound, HomeLibraryUnavailable.
    """
    card = canonical_card_number(card_number)
    return await answer_of(current_isil(home_isil, deps), card, deps)
