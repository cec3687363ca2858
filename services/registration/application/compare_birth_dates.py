"""Tell identity whether guests were born on the same day, and nothing else of it (I6, R19)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from uuid import UUID

from registration.application.personal_data import open_personal_data
from registration.application.ports import Registration
from registration.domain.guest import Guest


class BirthDates(StrEnum):
    """How they compare. An unknown date, or one that was erased, is left out."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


async def compare_birth_dates(
    one: Sequence[UUID], other: Sequence[UUID], registration: Registration
) -> BirthDates:
    """Compare each of these guests with each of those, of whatever organisation."""
    dates = [await _birth_dates(guest_ids, registration) for guest_ids in (one, other)]
    if not all(dates):
        return BirthDates.UNKNOWN
    return BirthDates.SAME if len(set.union(*dates)) == 1 else BirthDates.DIFFERENT


async def _birth_dates(guest_ids: Sequence[UUID], registration: Registration) -> set[date]:
    found = [await registration.store.find(Guest, each) for each in guest_ids]
    people = [await open_personal_data(guest, registration) for guest in found if guest is not None]
    return {person.details.birth_date for person in people if person and person.details.birth_date}
