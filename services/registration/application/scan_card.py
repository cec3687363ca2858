"""Find what a scanned card belongs to: a guest here, or the libraries it may come from (R2, R10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from registration.application.dependencies import Dependencies
from registration.application.find_home_library import as_they_are_now
from registration.application.membership import current_isil, refs_of
from registration.application.repository import registered_guest
from registration.domain.errors import Candidate, UnknownOrganisation
from shared.kernel.library_card import Isil, canonical_card_number, prefix_readings


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the card's prefix, and the libraries that use it; a red prefix has several (R2)."""

    prefix: str
    candidates: Sequence[Candidate]

    @property
    def is_shared(self) -> bool:
        """Return whether more than one library uses this prefix."""
        return len(self.candidates) > 1


@dataclass(frozen=True, slots=True)
class ScannedCard:
    """A card. `guests`: those registered here with this number at a library that it may come from."""

    card_number: str
    readings: Sequence[Reading]
    guests: Sequence[UUID]

    @property
    def isils(self) -> Sequence[str]:
        """Return the libraries that the card may come from, without repeats by location (R3)."""
        found = [candidate.isil for reading in self.readings for candidate in reading.candidates]
        return tuple({Isil.parse(isil).base: isil for isil in found}.values())


async def read_card(card_number: str, deps: Dependencies) -> ScannedCard:
    """Find the libraries that the card may come from, and no guest. Raises MalformedCardNumber."""
    card = canonical_card_number(card_number)
    readings = [await _read(prefix, deps) for prefix in prefix_readings(card)]
    return ScannedCard(card, [reading for reading in readings if reading.candidates], ())


async def scan_card(card_number: str, organisation: str, deps: Dependencies) -> ScannedCard:
    """Look the card up in the index, which has every committed registration.

    The caller records the look-up (R22), which may go on in a view. Raises MalformedCardNumber,
    UnknownOrganisation.
    """
    scanned = await read_card(card_number, deps)
    card = scanned.card_number
    guests = [await _guest_of(isil, card, organisation, deps) for isil in scanned.isils]
    known = dict.fromkeys(guest_id for guest_id in guests if guest_id)
    return replace(scanned, guests=tuple(known))


async def _read(prefix: str, deps: Dependencies) -> Reading:
    candidates = await deps.card_prefixes.candidates([prefix])
    return Reading(prefix, as_they_are_now(candidates, deps.isil_aliases))


async def _guest_of(isil: str, card: str, organisation: str, deps: Dependencies) -> UUID | None:
    if organisation not in deps.organisations:
        raise UnknownOrganisation
    guest = await registered_guest(organisation, refs_of(current_isil(isil, deps), card, deps), deps)
    return None if guest is None else guest.id
