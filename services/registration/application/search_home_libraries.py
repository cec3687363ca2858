"""Find a library by its name or its ISIL, when the card does not tell which it is (R2)."""

from __future__ import annotations

from collections.abc import Sequence

from registration.application.ports import Registration
from registration.domain.errors import Candidate


async def search_home_libraries(text: str, registration: Registration) -> Sequence[Candidate]:
    """Find libraries by a part of name or ISIL, whatever the case; none for an empty text."""
    wanted = text.strip()
    return await registration.card_prefixes.libraries(wanted) if wanted else ()
