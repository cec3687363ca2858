"""What operators see and do of one service: views, messages, parked subjects, events. Both services have it.

The page of operators shows both services: its own with `LocalOperations`, the other over `operations_api`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, cast
from uuid import UUID

import asyncpg
import structlog
from eventsourcing.utils import resolve_topic
from pydantic import BaseModel

from shared.configuration.operating import FilesInUse
from shared.event_log.readable import ENCRYPTED, readable_event
from shared.event_log.reading import Reader
from shared.event_log.types import RecordedEvent
from shared.messaging.broker_faults import faults_of
from shared.messaging.envelope import TYPE_PREFIX
from shared.messaging.errors import NotParked, OnlyWaiting
from shared.messaging.feed import Feed
from shared.messaging.inbox import Inbox, count_unreadable
from shared.messaging.parked import ParkedSubject, State
from shared.messaging.queues import queues_of
from shared.projections import NoSuchView, RebuildRunning, View
from shared.projections.background_rebuild import BackgroundRebuild, BackgroundRebuilds
from shared.projections.live import ViewStatus, status_of
from shared.web.configuration_api import (
    ConfigurationJson,
    ProcessJson,
    ReloadedJson,
    configuration_json,
    process_json,
    reloaded_json,
)
from shared.web.openapi import Fields

log = structlog.get_logger(__name__)

MOST_PARKED = 200
"""Parked subjects in an overview; `parked_total` counts all of them."""
MOST_EVENTS = 500
"""Events of one stream: the newest."""


class RebuildJson(BaseModel):
    """A rebuild that this process started. `done`, `total`: events. `failure`: why it failed."""

    state: Literal["running", "done", "busy", "failed"]
    percentage: int
    done: int
    total: int
    seconds: float
    failure: str


class ViewJson(BaseModel):
    """A view. `lag`: events that it has not applied yet. `failure`: why it has stopped.

    `live`: a worker keeps it up to date. `being_built`: some process rebuilds or verifies it now.
    """

    name: str
    about: str
    position: int
    lag: int
    rebuilt_at: datetime | None
    failure: str | None
    live: bool
    being_built: bool
    rebuild: RebuildJson | None


class QueueJson(BaseModel):
    """One direction of messages: `relay` (out, to the broker) or `sweep` (in, from the other's feed).

    `lag`: events; null when the other service does not respond. `live`: a worker does it now.
    """

    name: str
    position: int
    lag: int | None
    live: bool


class FaultJson(BaseModel):
    """What a worker finds wrong at the broker."""

    name: str
    reason: str
    since: datetime


class LostEndJson(BaseModel):
    """The other service's log ended at `head`, although `seen` had been processed: it was restored."""

    source: str
    seen: int
    head: int
    noticed_at: datetime


class ParkedJson(BaseModel):
    """A guest with a message that could not be applied. `messages` counts its backlog."""

    guest_id: UUID
    state: State
    reason: str
    since: datetime
    attempts: int
    next_try: datetime
    messages: int
    message_type: str | None
    message_version: int | None


class OverviewJson(BaseModel):
    """The state of one service. `parked`: the longest parked first, at most 200 of `parked_total`.

    `unreadable`: messages that came in and are not messages of ours. `settings_refused`: processes that did
    not take their files of settings. `other_log`: what the other service's log lost; null: nothing.
    """

    views: list[ViewJson]
    queues: list[QueueJson]
    broker_faults: list[FaultJson]
    parked: list[ParkedJson]
    parked_total: int
    unreadable: int
    settings_refused: list[ProcessJson] = []
    other_log: LostEndJson | None = None


class WaitingMessageJson(BaseModel):
    """A message of a backlog, without its data."""

    version: int
    type: str
    time: datetime


class BacklogJson(BaseModel):
    """A parked guest and its messages, in order."""

    parked: ParkedJson
    backlog: list[WaitingMessageJson]


class TriedJson(BaseModel):
    """The result of a retry or a skip. `parked` null: all `messages` of the backlog were processed."""

    messages: int
    parked: ParkedJson | None


class EventJson(BaseModel):
    """An event. Personal data stays encrypted, also what an earlier release stored in clear text."""

    position: int
    version: int
    topic: str
    event_id: UUID
    recorded_at: datetime
    caused_by: str
    correlation: UUID
    fields: Fields


class EventsJson(BaseModel):
    """The events of one guest in this log, the oldest first; the newest 500."""

    events: list[EventJson]


class ServiceOperations(Protocol):
    """A service as its operators see it, in this process or over HTTP. `by`: who does it."""

    async def overview(self) -> OverviewJson:
        """Return the state of the service."""

    async def backlog(self, subject: UUID) -> BacklogJson:
        """Return one parked subject with its messages. Raises NotParked."""

    async def retry(self, subject: UUID, by: str) -> TriedJson:
        """Process the backlog in order, now. Raises NotParked."""

    async def skip(self, subject: UUID, reason: str, by: str) -> TriedJson:
        """Skip the failed message permanently. Raises NotParked, OnlyWaiting."""

    async def view(self, name: str) -> ViewJson:
        """Return one view with its last rebuild. Raises NoSuchView."""

    async def rebuild(self, name: str, by: str) -> ViewJson:
        """Start a rebuild, or return the one that runs here. Raises NoSuchView, RebuildRunning."""

    async def events(self, subject: UUID) -> EventsJson:
        """Return the events of one subject's stream; none if there is no such stream."""

    async def configuration(self) -> ConfigurationJson:
        """Return the files of settings, who uses what, and who changed what."""

    async def reload(self, reason: str, by: str) -> ReloadedJson:
        """Make all running processes of the service take their files of settings."""


@dataclass(frozen=True, slots=True)
class LocalOperations:
    """See ServiceOperations: the service of this process."""

    pool: asyncpg.Pool
    inbox: Inbox
    other_feed: Feed
    with_broker: bool
    all_views: Sequence[View]
    rebuilds: BackgroundRebuilds
    files: FilesInUse

    async def overview(self) -> OverviewJson:
        """See ServiceOperations."""
        # Beside each other only because the other service may be silent: a page takes few connections.
        queues, shown = await asyncio.gather(
            queues_of(self.pool, self.other_feed, with_relay=self.with_broker), self._own_overview()
        )
        for queue in queues:
            live = queue.led_by is not None
            shown.queues.append(QueueJson(name=queue.name, position=queue.position, lag=queue.lag, live=live))
        return shown

    async def _own_overview(self) -> OverviewJson:
        """Return what needs only the database."""
        parked = self.inbox.parked
        faults = await faults_of(self.pool) if self.with_broker else []
        lost = await self.inbox.other_log.lost_end()
        return OverviewJson(
            views=[self._view(status) for status in await status_of(self.pool, self.all_views)],
            queues=[],
            broker_faults=[
                FaultJson(name=fault.name, reason=fault.reason, since=fault.since) for fault in faults
            ],
            parked=[_parked(subject) for subject in await parked.overview(MOST_PARKED)],
            parked_total=sum((await parked.counts()).values()),
            unreadable=await count_unreadable(self.pool),
            settings_refused=[process_json(process) for process in await self.files.refusing()],
            other_log=None
            if lost is None
            else LostEndJson(source=lost.source, seen=lost.seen, head=lost.head, noticed_at=lost.noticed_at),
        )

    async def backlog(self, subject: UUID) -> BacklogJson:
        """See ServiceOperations."""
        found = await self.inbox.parked.show(subject)
        messages = await self.inbox.parked.messages(subject)
        return BacklogJson(
            parked=_parked(found),
            backlog=[
                WaitingMessageJson(
                    version=message.stream_version,
                    type=message.type.removeprefix(TYPE_PREFIX),
                    time=message.time,
                )
                for message in messages
            ],
        )

    async def retry(self, subject: UUID, by: str) -> TriedJson:
        """See ServiceOperations."""
        before = await self.inbox.parked.show(subject)
        log.info("parked.retried", subject=str(subject), by=by)
        return await self._tried(before, processed=await self.inbox.retry_parked(subject))

    async def skip(self, subject: UUID, reason: str, by: str) -> TriedJson:
        """See ServiceOperations."""
        before = await self.inbox.parked.show(subject)
        if before.state is State.WAITING:
            raise OnlyWaiting
        return await self._tried(before, processed=await self.inbox.discard(subject, reason=reason, by=by))

    async def _tried(self, before: ParkedSubject, *, processed: bool) -> TriedJson:
        try:
            after = None if processed else _parked(await self.inbox.parked.show(before.subject))
        except NotParked:  # the worker was faster
            after = None
        return TriedJson(messages=before.messages, parked=after)

    async def view(self, name: str) -> ViewJson:
        """See ServiceOperations."""
        [status] = await status_of(self.pool, [self._known(name)])
        return self._view(status)

    async def rebuild(self, name: str, by: str) -> ViewJson:
        """See ServiceOperations."""
        view, last = self._known(name), self.rebuilds.last(name)
        ours = last is not None and last.state == "running"
        if not ours and (await self.view(name)).being_built:
            raise RebuildRunning
        log.info("rebuild.asked", view=name, by=by)
        await self.rebuilds.start(view)
        return await self.view(name)

    async def events(self, subject: UUID) -> EventsJson:
        """See ServiceOperations."""
        found = await Reader(self.pool).stream(subject)
        return EventsJson(events=[_event(event) for event in found[-MOST_EVENTS:]])

    async def configuration(self) -> ConfigurationJson:
        """See ServiceOperations."""
        return await configuration_json(self.files)

    async def reload(self, reason: str, by: str) -> ReloadedJson:
        """See ServiceOperations."""
        return await reloaded_json(self.files, by, reason)

    def _known(self, name: str) -> View:
        for view in self.all_views:
            if view.name == name:
                return view
        raise NoSuchView

    def _view(self, status: ViewStatus) -> ViewJson:
        last = self.rebuilds.last(status.name)
        return ViewJson(
            name=status.name,
            about=self._known(status.name).about,
            position=status.position,
            lag=status.lag,
            rebuilt_at=status.rebuilt_at,
            failure=status.failure,
            live=status.followed_by is not None,
            being_built=status.being_built,
            rebuild=None if last is None else _rebuild(last),
        )


def _rebuild(last: BackgroundRebuild) -> RebuildJson:
    return RebuildJson(
        state=last.state,
        percentage=last.percentage,
        done=last.done,
        total=last.total,
        seconds=last.seconds,
        failure=last.failure,
    )


def _parked(found: ParkedSubject) -> ParkedJson:
    kind = found.message_type and found.message_type.removeprefix(TYPE_PREFIX)
    return ParkedJson(
        guest_id=found.subject,
        state=found.state,
        reason=found.reason,
        since=found.since,
        attempts=found.attempts,
        next_try=found.next_try,
        messages=found.messages,
        message_type=kind,
        message_version=found.message_version,
    )


def _event(event: RecordedEvent) -> EventJson:
    shown = readable_event(event)
    sealed = _sealed_names(event.event_type)
    fields = {
        name: ENCRYPTED if name in sealed and value is not None else value
        for name, value in shown["fields"].items()
        if name not in _OF_THE_LIBRARY
    }
    return EventJson.model_validate({**shown, "fields": fields})


_OF_THE_LIBRARY = frozenset(
    {"originator_id", "originator_version", "originator_topic", "timestamp", "class_version"}
)


def _sealed_names(event_type: str) -> Sequence[str]:
    """Return the fields that an erasure makes unreadable: earlier releases stored them in clear text."""
    try:
        return cast("Sequence[str]", getattr(resolve_topic(event_type), "SEALED", ()))
    except Exception:  # a type of another release: `readable_event` shows what is stored
        return ()
