"""Erase subjects whose retention period is over (R19)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID

import structlog

from shared.event_log.failures import SubjectFailures

log = structlog.get_logger(__name__)

BY_ITSELF = "retention period"
"""Who causes the erasures that no operator asked for (R20)."""

Ended = tuple[date, UUID]
"""The last day on which a subject was needed, and the subject."""


class EndedSubjects(Protocol):
    """Subjects that are needed no more since some day, as far as the view is."""

    async def before(self, day: date, after: Ended = ...) -> Sequence[Ended]:
        """Return the next ones that ended before this day, the earliest first; [] at the end."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The result. `erased`: in the order in which they ended; `failed`: subject -> kind of error."""

    erased: Sequence[UUID]
    failed: Mapping[UUID, str]


Handle = Callable[[UUID], Awaitable[bool]]
"""Erases a subject, or only checks it; returns whether its retention period is over."""


async def erase_ended(ended: EndedSubjects, before: date, erase: Handle) -> Retention:
    """Erase every subject that ended before this day.

    The view may lag, so `erase` checks the subject again. A subject that fails is skipped. After an
    interruption the next call continues. Raises what stops all, such as OSError of the erasure ledger.
    """
    done = await find_ended(ended, before, erase)
    if done.erased:
        log.info("retention.applied", subjects=len(done.erased))
    return done


async def find_ended(ended: EndedSubjects, before: date, check: Handle) -> Retention:
    """Find every subject that ended before this day, by the view and by `check`. See `erase_ended`."""
    erased, failures = list[UUID](), SubjectFailures("retention")
    page = await ended.before(before)
    while page:
        for _, subject_id in page:
            with failures.skip(subject_id):
                if await check(subject_id):
                    erased.append(subject_id)
        page = await ended.before(before, page[-1])
    return Retention(erased, failures.by_subject)
