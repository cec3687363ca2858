"""Find the home library: from the card, or by name and ISIL (R2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from registration.application.dependencies import Dependencies
from registration.domain.errors import Candidate
from registration.domain.text_matching import words_of
from shared.kernel.library_card import Isil, canonical_card_number, prefix_readings


@dataclass(frozen=True, slots=True)
class HomeLibraryMatch:
    """*one*: filled in. *ambiguous*: the clerk chooses a candidate. *none*: the clerk types the ISIL."""

    match: Literal["one", "ambiguous", "none"]
    candidates: Sequence[Candidate]


async def look_up_home_library(card_number: str, deps: Dependencies) -> HomeLibraryMatch:
    """Look up both readings of the card's prefix. Raises MalformedCardNumber."""
    readings = prefix_readings(canonical_card_number(card_number))
    found = await deps.card_prefixes.candidates(readings)
    candidates = as_they_are_now(found, deps.isil_aliases)
    if not candidates:
        return HomeLibraryMatch("none", ())
    return HomeLibraryMatch("one" if len(candidates) == 1 else "ambiguous", candidates)


def as_they_are_now(found: Sequence[Candidate], aliases: Mapping[str, str]) -> tuple[Candidate, ...]:
    """Return the libraries without repeats; a merged one appears as the one that it is part of now (R3)."""
    now: dict[str, Candidate] = {}
    for candidate in found:
        known = Isil.parse(candidate.isil)
        current = known.surviving(aliases)
        if current.same_library(known):
            now[current.base] = candidate
        else:
            now.setdefault(current.base, replace(candidate, isil=str(current)))
    return tuple(now.values())


MOST_FOUND = 20  # clerks do not read more: they type another letter


async def search_home_libraries(text: str, deps: Dependencies) -> Sequence[Candidate]:
    """Find at most MOST_FOUND libraries by parts of the name or a part of the ISIL, without case and accents.

    Searches the table of card prefixes and the libraries in the settings: a clerk searches for libraries that
    the table lacks. A text without letters and digits finds nothing.
    """
    wanted = text.strip()
    if not wanted:
        return ()
    listed = await deps.card_prefixes.libraries()
    known = {Isil.parse(candidate.isil).base for candidate in listed}
    names = deps.home_library_names
    others = [Candidate(isil, name or isil, "") for isil, name in names.items() if isil not in known]
    found = [library for library in (*listed, *others) if _fits(wanted, library)]
    return sorted(found, key=lambda library: (library.name.casefold(), library.isil))[:MOST_FOUND]


def _fits(wanted: str, library: Candidate) -> bool:
    words, name = words_of(wanted), " ".join(words_of(library.name))
    return bool(words) and (wanted.upper() in library.isil or all(word in name for word in words))
