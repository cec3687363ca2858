"""Find the home library from the card (R2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from registration.application.ports import Registration
from registration.domain.card import canonical_card_number, prefix_readings
from registration.domain.errors import Candidate
from registration.domain.isil import Isil


@dataclass(frozen=True, slots=True)
class HomeLibraryMatch:
    """One library is filled in; among several the clerk chooses; with none the clerk types the ISIL."""

    match: Literal["one", "ambiguous", "none"]
    candidates: Sequence[Candidate]


async def look_up_home_library(card_number: str, registration: Registration) -> HomeLibraryMatch:
    """Look up both readings of the card's prefix. Raises MalformedCardNumber."""
    readings = prefix_readings(canonical_card_number(card_number))
    found = await registration.card_prefixes.candidates(readings)
    candidates = as_they_are_now(found, registration.isil_aliases)
    if not candidates:
        return HomeLibraryMatch("none", ())
    return HomeLibraryMatch("one" if len(candidates) == 1 else "ambiguous", candidates)


def as_they_are_now(found: Sequence[Candidate], aliases: Mapping[str, str]) -> tuple[Candidate, ...]:
    """Each library once; one that merged is the one that it is part of now, by that one's own name (R3)."""
    now: dict[str, Candidate] = {}
    for candidate in found:
        known = Isil.parse(candidate.isil)
        current = known.surviving(aliases)
        if current.same_library(known):
            now[current.base] = candidate
        else:
            now.setdefault(current.base, replace(candidate, isil=str(current)))
    return tuple(now.values())
