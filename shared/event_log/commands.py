"""What one `append` asks for, on its way into the log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

from shared.event_log.errors import VersionConflict
from shared.event_log.side_rows import WrittenRow
from shared.event_log.types import NewEvent


class Command:
    """What one `append` asks for, and the promise of its answer."""

    __slots__ = ("answer", "continued", "events", "side_rows", "streams")

    def __init__(
        self, events: Sequence[NewEvent], side_rows: Sequence[WrittenRow], answer: asyncio.Future[int]
    ) -> None:
        firsts = first_of_each_stream(events)
        self.events = events
        self.side_rows = side_rows
        # A set, made of a dict and joined with other sets, is never hashed again: a UUID's hash is slow.
        self.streams = frozenset(firsts)
        self.continued = [first for first in firsts.values() if first.originator_version != 1]
        """Those that the log must check: do they follow the last event of their stream?"""
        self.answer = answer

    def succeed(self, position: int) -> None:
        """Answer with the position of the last event, unless nobody waits any more."""
        if not self.answer.done():
            self.answer.set_result(position)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless nobody waits any more."""
        if not self.answer.done():
            self.answer.set_exception(error)


def first_of_each_stream(events: Sequence[NewEvent]) -> dict[UUID, NewEvent]:
    """Find each stream's first event; VersionConflict when the others do not follow it one by one."""
    if len(events) == 1:
        return {events[0].originator_id: events[0]}
    firsts: dict[UUID, NewEvent] = {}
    versions: dict[UUID, int] = {}
    for event in events:
        stream, version = event.originator_id, event.originator_version
        if stream not in firsts:
            firsts[stream] = event
        elif version != versions[stream] + 1:
            raise VersionConflict(stream, version)
        versions[stream] = version
    return firsts
