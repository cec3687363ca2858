"""Run the nightly check: by the clock, by hand, in one process at a time (R12)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time, timedelta
from uuid import uuid4

from registration.application.check_all_terms import check_all_terms
from registration.application.nights import NightReport, Nights
from registration.application.ports import Registration
from registration.domain.night import Night, night_at
from shared.event_log import Metadata
from shared.messaging.leases import Leases, once

TASK = "nightly check"
TRY_AGAIN_EVERY = timedelta(minutes=15)
"""How long a library that did not answer is left alone before the same night asks it again."""


async def run_when_it_is_night(
    starts_at: time, nights: Nights, leases: Leases, registration: Registration
) -> None:
    """Run when it is time: once a night, and again for libraries that did not answer, until the morning."""
    now = registration.clock.now()
    night = night_at(now, starts_at)
    if night is None:
        return
    last = await nights.last()
    if last is not None and last.night == night and (last.is_complete or _was_just_tried(last, now)):
        return
    await run_night(night, "nightly", nights, leases, registration)


def _was_just_tried(last: NightReport, now: datetime) -> bool:
    return last.ended_at is not None and now - last.ended_at < TRY_AGAIN_EVERY


async def run_night(
    night: Night,
    caused_by: str,
    nights: Nights,
    leases: Leases,
    registration: Registration,
    *,
    told: Callable[[int], None] = lambda _: None,
) -> NightReport | None:
    """Run now, and report; None when another process is at it, or took over."""
    metadata = Metadata(caused_by, uuid4())
    done = await once(leases, TASK, lambda _: check_all_terms(night, metadata, nights, registration, told))
    return await nights.last() if done else None
