"""Find a library by its name or its ISIL, when the card does not tell which it is (R2)."""

from __future__ import annotations

from collections.abc import Sequence

from registration.application.ports import Registration
from registration.domain.errors import Candidate
from registration.domain.isil import Isil
from registration.domain.plain_words import words_of

MOST = 20  # more than these nobody reads: a clerk types another letter


async def search_home_libraries(text: str, registration: Registration) -> Sequence[Candidate]:
    """Find libraries by parts of the name or a part of the ISIL, whatever case and accents; none for nothing.

    Those of the table of card prefixes, and those that can be asked though the table does not tell of them:
    it is for their cards that a clerk searches. Some twenty at most.
    """
    wanted = text.strip()
    if not wanted:
        return ()
    listed = await registration.card_prefixes.libraries()
    known = {Isil.parse(candidate.isil).base for candidate in listed}
    names = registration.home_library_names
    others = [Candidate(isil, name or isil, "") for isil, name in names.items() if isil not in known]
    found = [each for each in (*listed, *others) if _fits(wanted, each)]
    return sorted(found, key=lambda each: (each.name.casefold(), each.isil))[:MOST]


def _fits(wanted: str, library: Candidate) -> bool:
    words, name = words_of(wanted), " ".join(words_of(library.name))
    return wanted.upper() in library.isil or (bool(words) and all(word in name for word in words))
