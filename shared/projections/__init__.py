"""Read models: views that follow from the log, live, rebuilt beside themselves, and checked (A7)."""

from shared.projections.errors import FoldFailed, RebuildRunning, ViewBehind
from shared.projections.folding import Folder
from shared.projections.live import LiveView
from shared.projections.schema import SCHEMA
from shared.projections.view import Happened, Row, Rows, View, ViewTable

__all__ = [
    "SCHEMA",
    "FoldFailed",
    "Folder",
    "Happened",
    "LiveView",
    "RebuildRunning",
    "Row",
    "Rows",
    "View",
    "ViewBehind",
    "ViewTable",
]
