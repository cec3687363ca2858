"""Destroy what is personal of those whose registration ended long ago (R19)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Protocol
from uuid import UUID, uuid4

import structlog

from registration.application.dependencies import Dependencies
from registration.application.erase_guest import erase_if
from registration.domain.guest_state import GuestState, ended_on
from shared.event_log import Metadata
from shared.kernel.amsterdam import day_of

log = structlog.get_logger(__name__)

Ended = tuple[date, UUID]


class EndedGuests(Protocol):
    """Guests whose registration ended, as far as the view has come."""

    async def before(self, day: date, after: Ended = ...) -> Sequence[Ended]:
        """List some that ended before this day, the longest ended first, beyond `after`; none: no more."""


async def apply_retention(retention_days: int, ended: EndedGuests, deps: Dependencies) -> int:
    """Erase everybody whose registration ended more than so many days ago; answer how many.

    The list may lag behind, so each guest is looked at once more in the attempt that erases: whoever came
    back in the meantime stays. What is interrupted goes on with the next call. Raises OSError when the ledger
    of erasures cannot be written.
    """
    before = day_of(deps.clock.now()) - timedelta(days=retention_days)

    def long_ago(guest: GuestState) -> bool:
        day = ended_on(guest)
        return day is not None and day < before

    metadata, forgotten = Metadata("retention period", uuid4()), 0
    page = await ended.before(before)
    while page:
        for _, guest_id in page:
            forgotten += await erase_if(long_ago, guest_id, metadata, deps)
        page = await ended.before(before, page[-1])
    if forgotten:
        log.info("retention.forgotten", guests=forgotten)
    return forgotten
