"""Work on many subjects: one that cannot be handled is reported and skipped, and stops no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import structlog
from prometheus_client import Counter

from shared.event_log.errors import LogCorrupt, LogUnavailable
from shared.platform.postgres import is_transient

FAILURES = Counter("subject_failures", "Subjects that a task could not handle and skipped", ["task"])

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SubjectFailures:
    """The subjects that a task could not handle, with the kind of error.

    Their data key is missing or wrong, or their stream cannot be read. The text of an error may hold personal
    data, so only its class is kept.
    """

    task: str
    by_subject: dict[UUID, str] = field(default_factory=dict)

    @contextmanager
    def skip(self, subject_id: UUID) -> Iterator[None]:
        """Handle a subject inside the block. An error that only this subject causes ends the block.

        Other errors are raised: the next subject would meet them too.
        """
        try:
            yield
        except Exception as error:
            if _stops_all(error):
                raise
            self.note(subject_id, error)

    def note(self, subject_id: UUID, error: Exception) -> None:
        """Report a subject that was skipped."""
        kind = type(error).__name__
        self.by_subject[subject_id] = kind
        FAILURES.labels(self.task).inc()
        log.error("subject.failed", task=self.task, subject_id=str(subject_id), error=kind)


def _stops_all(error: Exception) -> bool:
    """Return whether the error is one of the database, the log or a file, not one of a subject."""
    return is_transient(error) or isinstance(error, LogUnavailable | LogCorrupt | asyncpg.SyntaxOrAccessError)
