"""Read models: views that follow from the log, live, rebuilt beside themselves, and checked (A7)."""

from shared.projections.folding import Folder
from shared.projections.live import LiveView
from shared.projections.view import (
    SCHEMA,
    FoldFailed,
    RebuildRunning,
    RecordedDomainEvent,
    Row,
    Rows,
    View,
    ViewBehind,
    ViewTable,
)

__all__ = [
    "SCHEMA",
    "FoldFailed",
    "Folder",
    "LiveView",
    "RebuildRunning",
    "RecordedDomainEvent",
    "Row",
    "Rows",
    "View",
    "ViewBehind",
    "ViewTable",
]
