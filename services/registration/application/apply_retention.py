"""Erase the personal data of guests whose registration ended long ago (R19)."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID, uuid4

from registration.application.dependencies import Dependencies
from registration.application.erase_guest import erase_if
from registration.domain.guest import Guest
from registration.domain.guest_state import GuestState, ended_on
from shared.event_log import Metadata
from shared.event_log.retention import BY_ITSELF, EndedSubjects, Retention, erase_ended, find_ended
from shared.kernel.amsterdam import day_of


async def apply_retention(
    retention_days: int, ended: EndedSubjects, deps: Dependencies, by: str = BY_ITSELF
) -> Retention:
    """Erase the guests whose registration ended more than so many days ago.

    A guest is checked again in the transaction that erases: one that was registered again meanwhile stays.
    `by` is who asked for it. Raises OSError when the erasure ledger cannot be written.
    """
    before, metadata = _first_day_kept(retention_days, deps), Metadata(by, uuid4())

    async def erase(guest_id: UUID) -> bool:
        return await erase_if(lambda guest: _ended(guest, before), guest_id, metadata, deps)

    return await erase_ended(ended, before, erase)


async def preview_retention(retention_days: int, ended: EndedSubjects, deps: Dependencies) -> Retention:
    """Return what `apply_retention` would erase now; change nothing."""
    before = _first_day_kept(retention_days, deps)

    async def would_erase(guest_id: UUID) -> bool:
        guest = await deps.store.find(Guest, guest_id)
        return guest is not None and _ended(guest.state, before)

    return await find_ended(ended, before, would_erase)


def _first_day_kept(retention_days: int, deps: Dependencies) -> date:
    return day_of(deps.clock.now()) - timedelta(days=retention_days)


def _ended(guest: GuestState, before: date) -> bool:
    day = ended_on(guest)
    return day is not None and day < before
