"""Read models: views that are computed from the log, kept up to date, rebuilt and verified (ADR 0009)."""

from shared.projections.folding import Folder
from shared.projections.live import LiveView, LiveViews
from shared.projections.view import (
    SCHEMA,
    FoldFailed,
    NoSuchView,
    RebuildRunning,
    RecordedDomainEvent,
    Row,
    Rows,
    View,
    ViewBehind,
    ViewFailed,
    ViewTable,
)

__all__ = [
    "SCHEMA",
    "FoldFailed",
    "Folder",
    "LiveView",
    "LiveViews",
    "NoSuchView",
    "RebuildRunning",
    "RecordedDomainEvent",
    "Row",
    "Rows",
    "View",
    "ViewBehind",
    "ViewFailed",
    "ViewTable",
]
