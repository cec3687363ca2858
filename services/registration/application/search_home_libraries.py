"""Find a library by its name or its ISIL, when the card does not tell which it is (R2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from registration.application.ports import Registration
from registration.domain.errors import Candidate
from registration.domain.isil import Isil


async def search_home_libraries(text: str, registration: Registration) -> Sequence[Candidate]:
    """Find libraries by a part of name or ISIL, whatever the case; none for an empty text.

    Those of the table of card prefixes, and those that can be asked though the table does not tell of them:
    it is for their cards that a clerk searches.
    """
    wanted = text.strip()
    if not wanted:
        return ()
    listed = await registration.card_prefixes.libraries(wanted)
    known = {Isil.parse(candidate.isil).base for candidate in listed}
    others = [each for each in _askable(wanted, registration) if each.isil not in known]
    return sorted((*listed, *others), key=lambda each: (each.name.casefold(), each.isil))


def _askable(text: str, registration: Registration) -> Iterator[Candidate]:
    for isil, name in registration.home_library_names.items():
        if text.casefold() in name.casefold() or text.upper() in isil:
            yield Candidate(isil, name or isil, "")
