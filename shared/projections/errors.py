"""What can go wrong with a view."""

from __future__ import annotations

from uuid import UUID


class FoldFailed(Exception):
    """A view cannot digest an event. Nothing was changed; the text names the event."""

    def __init__(self, view: str, stream: UUID, position: int, topic: str, reason: str) -> None:
        super().__init__(view, stream, position, topic, reason)
        self.view, self.stream, self.position, self.topic, self.reason = view, stream, position, topic, reason

    def __str__(self) -> str:
        return (
            f"the view {self.view} cannot digest the event at position {self.position}"
            f" ({self.topic}, stream {self.stream}): {self.reason}"
        )


class RebuildRunning(Exception):
    """Another process rebuilds or verifies this view now: wait until it is done, or stop it."""


class ViewBehind(Exception):
    """The view has not taken in yet what you wait for: try again."""
