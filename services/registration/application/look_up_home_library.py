"""Find the home library from the card (R2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from registration.application.ports import Registration
from registration.domain.card import canonical_card_number, prefix_readings
from registration.domain.errors import Candidate


@dataclass(frozen=True, slots=True)
class HomeLibraryMatch:
    """One library is filled in; among several the clerk chooses; with none the clerk types the ISIL."""

    match: Literal["one", "ambiguous", "none"]
    candidates: Sequence[Candidate]


async def look_up_home_library(card_number: str, registration: Registration) -> HomeLibraryMatch:
    """Look up both readings of the card's prefix. Raises MalformedCardNumber."""
    readings = prefix_readings(canonical_card_number(card_number))
    found = await registration.card_prefixes.candidates(readings)
    candidates = tuple({candidate.isil: candidate for candidate in found}.values())
    if not candidates:
        return HomeLibraryMatch("none", ())
    return HomeLibraryMatch("one" if len(candidates) == 1 else "ambiguous", candidates)
