"""The home library of a card, and its verdict: the same way for all use cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from registration.application.dependencies import Context, Dependencies, LookupKind, Organisation
from registration.application.find_home_library import look_up_home_library
from registration.application.looking_up import looking_up
from registration.domain.errors import (
    AmbiguousHomeLibrary,
    ChainedGuest,
    GuestRefused,
    HomeLibraryUnavailable,
    HomeLibraryUnknownForCard,
    HomePatronNotFound,
    NotFoundTwice,
    NotFoundWithStartStop,
    OwnLibrary,
)
from registration.domain.verdict import NotFound, Reason, Refused, Unavailable, Valid
from shared.kernel.amsterdam import day_of
from shared.kernel.library_card import Isil, ScanFault, canonical_card_number, person_ref, scan_fault


async def home_isil(typed: str | None, card_number: str, deps: Dependencies) -> Isil:
    """Return the home library's present ISIL (R3): the typed one, or the one found from the card (R2).

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
    """Read an ISIL and follow the aliases of merged libraries (R3). Raises MalformedIsil."""
    return Isil.parse(typed).surviving(deps.isil_aliases)


def require_other_library(home: Isil, organisation: Organisation, deps: Dependencies) -> None:
    """Raise OwnLibrary when the home library belongs to the guest organisation (R11)."""
    if is_library_of(home, organisation, deps):
        raise OwnLibrary


def is_library_of(home: Isil, organisation: Organisation, deps: Dependencies) -> bool:
    """Return whether the library belongs to the organisation. `home` is a present ISIL (R3)."""
    return any(home.same_library(current_isil(own, deps)) for own in organisation.isils)


NOT_FOUND = {ScanFault.START_STOP: NotFoundWithStartStop, ScanFault.TWICE: NotFoundTwice}
"""The errors that name what a scanner seems to have done; otherwise HomePatronNotFound."""


async def answer_of(isil: Isil, card_number: str, deps: Dependencies) -> Valid | Refused:
    """Ask the home library (R4). A membership past its end date is refused as expired.

    Raises UnknownHomeLibrary, HomePatronNotFound, HomeLibraryUnavailable.
    """
    match await deps.home_libraries.ask(str(isil), card_number):
        case NotFound():
            fault = scan_fault(card_number)
            raise NOT_FOUND[fault] if fault else HomePatronNotFound
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


def accepted(answer: Valid | Refused) -> Valid:
    """Return the membership with which a guest can be registered. Raises GuestRefused, ChainedGuest."""
    if isinstance(answer, Refused):
        raise GuestRefused(answer.reasons)
    if answer.is_guest_subscription:
        raise ChainedGuest
    return answer


def refs_of(isil: Isil, card_number: str, deps: Dependencies) -> list[str]:
    """Return the references under which indexes and messages may know this person, the present one first.

    The others belong to libraries that merged into this one, so that a person registered before the merger is
    found afterwards (R3, R10, I10).
    """
    bases = (isil.base, *merged_into(isil, deps))
    return [person_ref(deps.person_ref_key, base, card_number) for base in bases]


def merged_into(isil: Isil, deps: Dependencies) -> list[str]:
    """Return the other ISIL bases of this library: of those that are one with it now (R3)."""
    return [base for base in one_library([isil.base], deps.isil_aliases) if base != isil.base]


def one_library(bases: Iterable[str], aliases: Mapping[str, str]) -> list[str]:
    """Return these ISIL bases and all that are one library with any of them now, in order (R3)."""
    known = set(bases)
    now = {Isil(base).surviving(aliases).base for base in known}
    merged = {base for base in aliases if Isil(base).surviving(aliases).base in now}
    return sorted(known | now | merged)


@dataclass(frozen=True, slots=True)
class References:
    """Under what the registration index knows a person (I10).

    `refs`: the references, the present one first. `known_as`: the ISIL bases that they are of.
    """

    refs: Sequence[str]
    known_as: str


def references_of(isil: Isil, card_numbers: Iterable[str], deps: Dependencies) -> References:
    """Return the references of a person with these numbers, for the rows of the index.

    Both are of one reading of the alias table: it may change while a guest is registered, and a row that
    claims more than the guest has would never be completed (I10).
    """
    bases = one_library([isil.base], dict(deps.isil_aliases))
    ordered = [isil.base, *(base for base in bases if base != isil.base)]
    refs = [person_ref(deps.person_ref_key, base, number) for number in card_numbers for base in ordered]
    return References(refs, " ".join(bases))


async def ask_home_patron(
    home_isil: str, card_number: str, context: Context, deps: Dependencies
) -> Valid | Refused:
    """Ask a home library about a card, before there is a guest (R4).

    Raises MalformedIsil, MalformedCardNumber, UnknownHomeLibrary, HomePatronNotFound, HomeLibraryUnavailable,
    TooManyLookups.
    """
    card, home = canonical_card_number(card_number), current_isil(home_isil, deps)
    async with looking_up(LookupKind.HOME_PATRON, card, context, deps, home_isil=str(home)) as lookup:
        answer = await answer_of(home, card, deps)
        lookup.outcome = "valid" if isinstance(answer, Valid) else "refused"
    return answer
