"""Why a file is not imported."""

from __future__ import annotations

EXPORT_AGAIN = "export the log again"


class FileRefused(Exception):
    """This file is not the export of a log, whole and unchanged."""

    def __init__(self, line: int, reason: str, advice: str = EXPORT_AGAIN) -> None:
        super().__init__(f"line {line}: {reason}: {advice}")
        self.line = line


class LogNotEmpty(Exception):
    """A log is imported only into a database that nothing has happened in."""
