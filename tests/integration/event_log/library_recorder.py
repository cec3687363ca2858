"""The `eventsourcing` library's recorder interface over our log: submits coroutines, converts types."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from threading import Thread
from typing import Any, TypeVar, cast
from uuid import UUID

from eventsourcing.persistence import (
    ApplicationRecorder,
    IntegrityError,
    Notification,
    StoredEvent,
    Subscription,
)

from shared.event_log import EventLog, RecordedEvent, VersionConflict
from tests.support.event_log import in_postgres, new_event

T = TypeVar("T")


class OurRecorder(ApplicationRecorder):
    """For the library's test cases only."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = AsyncExitStack()
        self._log: EventLog = self._wait(self._stack.enter_async_context(in_postgres(url))).log

    def close(self) -> None:
        self._wait(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        events = [
            new_event(
                cast("UUID", each.originator_id), each.originator_version, topic=each.topic, state=each.state
            )
            for each in stored_events
        ]
        try:
            last = self._wait(self._log.append(events))
        except VersionConflict as conflict:
            raise IntegrityError from conflict
        return list(range(last - len(events) + 1, last + 1))

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        after_version = -1 if gt is None else gt
        events = self._wait(self._log.stream(cast("UUID", originator_id), after_version=after_version))
        to_position = [event for event in events if lte is None or event.stream_version <= lte]
        ordered = to_position[::-1] if desc else to_position
        return [_stored(event) for event in ordered[:limit]]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        after = 0 if start is None else start - inclusive_of_start
        events = self._wait(self._log.read(after, 1_000_000 if topics else limit))
        return [_notification(event) for event in _wanted(events, stop, topics)][:limit]

    def max_notification_id(self) -> int | None:
        return self._wait(self._log.position()) or None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        raise NotImplementedError  # the library's subscriptions are threads; ours is `tail`

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=60)


def _wanted(
    events: Iterable[RecordedEvent], stop: int | None, topics: Sequence[str]
) -> Iterable[RecordedEvent]:
    return (
        event
        for event in events
        if (stop is None or event.position <= stop) and (not topics or event.event_type in topics)
    )


def _stored(event: RecordedEvent) -> StoredEvent:
    return StoredEvent(event.stream_id, event.stream_version, event.event_type, event.state)


def _notification(event: RecordedEvent) -> Notification:
    return Notification(
        event.stream_id, event.stream_version, event.event_type, event.state, id=event.position
    )
