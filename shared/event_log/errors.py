"""What can go wrong with the event log."""

from __future__ import annotations

from uuid import UUID


class EventLogError(Exception):
    """Something went wrong with the event log."""


class VersionConflict(EventLogError):
    """Another command changed this stream first: load it again and decide again."""


class SideRowConflict(EventLogError):
    """A row that had to be the first of its kind exists already; nothing was written."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class LogOverloaded(EventLogError):
    """Too many commands are waiting to be written: try again later; nothing was written."""


class LogUnavailable(EventLogError):
    """The event log cannot be reached now: try again.

    When the connection broke in the middle of a write its outcome is unknown; appending the same events
    again (same event ids) is safe.
    """


class LogCorrupt(EventLogError):
    """The event log has a gap in its positions, which no append can make: restore it."""


class AggregateNotFound(EventLogError):
    """No such aggregate."""

    def __init__(self, kind: type, aggregate_id: UUID) -> None:
        super().__init__(f"no {kind.__name__} with id {aggregate_id}")
        self.aggregate_id = aggregate_id


class DecryptionFailed(EventLogError):
    """This sealed data cannot be opened: another key, another subject, or it was changed."""
