"""Errors of the event log. A caller may see the first paragraph of a docstring."""

from __future__ import annotations

from uuid import UUID


class EventLogError(Exception):
    """The event log reported an error."""


class VersionConflict(EventLogError):
    """Another command changed this record first. Nothing was saved. Try again in a moment."""


class SideRowConflict(EventLogError):
    """A row with the same unique key exists already. Nothing was written."""

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class LogOverloaded(EventLogError):
    """The service is too busy now. Nothing was saved. Try again in a moment."""


class LogUnavailable(EventLogError):
    """The database cannot be reached now. Try again in a moment.

    If the connection broke during a write, it is unknown whether the events were written. It is safe to
    append the same events again, with the same event ids.
    """


class LogCorrupt(EventLogError):
    """The event log has a gap in its positions, and no append can cause that: restore a backup."""


class AggregateNotFound(EventLogError):
    """There is no such aggregate."""

    def __init__(self, kind: type, aggregate_id: UUID) -> None:
        super().__init__(f"no {kind.__name__} with id {aggregate_id}")
        self.aggregate_id = aggregate_id


class RecordUnreadable(EventLogError):
    """This record cannot be read now. Nothing was saved. Report this to an operator."""


class UnreadableEvent(RecordUnreadable):
    """This record has an event that cannot be read now. Nothing was saved. Report this to an operator."""

    def __init__(self, position: int, stream_id: UUID, event_type: str, reason: str) -> None:
        super().__init__(f"position {position} ({event_type}, stream {stream_id}): {reason}")


class DecryptionFailed(RecordUnreadable):
    """This encrypted data cannot be decrypted: wrong key, wrong subject, or changed data."""
