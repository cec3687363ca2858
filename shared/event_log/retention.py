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


async def erase_ended(
    ended: EndedSubjects, before: date, erase: Callable[[UUID], Awaitable[bool]]
) -> Retention:
    """Call `erase` for every subject that ended before this day; it returns whether it erased the subject.

    The view may lag, so `erase` checks the subject again. A subject that fails is skipped. After an
    interruption the next call continues. Raises what stops all, such as OSError of the erasure ledger.
    """
    erased, failures = list[UUID](), SubjectFailures("retention")
    page = await ended.before(before)
    while page:
        for _, subject_id in page:
            with failures.skip(subject_id):
                if await erase(subject_id):
                    erased.append(subject_id)
        page = await ended.before(before, page[-1])
    if erased:
        log.info("retention.applied", subjects=len(erased))
    return Retention(erased, failures.by_subject)
