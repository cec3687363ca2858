"""Erase the personal data of guests whose registration ended long ago (R19)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Protocol
from uuid import UUID, uuid4

import structlog

from registration.application.dependencies import Dependencies
from registration.application.erase_guest import erase_if
from registration.domain.guest_state import GuestState, ended_on
from shared.event_log import Metadata, RecordUnreadable
from shared.kernel.amsterdam import day_of

log = structlog.get_logger(__name__)

Ended = tuple[date, UUID]


class EndedGuests(Protocol):
    """Guests whose registration ended, as far as the view is."""

    async def before(self, day: date, after: Ended = ...) -> Sequence[Ended]:
        """Return the next ones that ended before this day, the earliest first; [] at the end."""


async def apply_retention(retention_days: int, ended: EndedGuests, deps: Dependencies) -> int:
    """Erase the guests whose registration ended more than so many days ago; return how many.

    The view may lag, so the guest is checked again in the transaction that erases: a guest that was
    registered again meanwhile stays. A guest that cannot be read is logged, and the others go on. After an
    interruption the next call continues. Raises OSError when the erasure ledger cannot be written.
    """
    before = day_of(deps.clock.now()) - timedelta(days=retention_days)

    def long_ago(guest: GuestState) -> bool:
        day = ended_on(guest)
        return day is not None and day < before

    metadata, erased = Metadata("retention period", uuid4()), 0
    page = await ended.before(before)
    while page:
        for _, guest_id in page:
            try:
                erased += await erase_if(long_ago, guest_id, metadata, deps)
            except RecordUnreadable as error:
                log.error("retention.not_applied", guest_id=str(guest_id), reason=str(error))
        page = await ended.before(before, page[-1])
    if erased:
        log.info("retention.applied", guests=erased)
    return erased
