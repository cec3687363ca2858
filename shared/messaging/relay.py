"""The relay: the log is the outbox. Every published event reaches the broker, in order (ADR 0002)."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

from shared.event_log import EventLog, LogUnavailable
from shared.messaging import metrics
from shared.messaging.broker_faults import BLOCKED, LOW_ON_RESOURCES, PUBLISHING, BrokerFaults
from shared.messaging.envelope import Message
from shared.messaging.errors import TryAgain
from shared.messaging.feed import ToMessage, to_messages
from shared.platform import limits
from shared.platform.leases import Lease, LeaseLost, Leases, lead
from shared.platform.retry import keep_running

TASK = "relay"
PIPELINE = 500
"""The most messages that are published and not confirmed: bounds memory, and duplicates after a failure."""
BETWEEN_CHECKPOINTS_SECONDS = 0.05
"""What is confirmed meanwhile is written down together. It is published again if this process dies before."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0
LAST_CONFIRMS_SECONDS = 2.0


class Publisher(Protocol):
    """A connection to the broker."""

    async def publish(self, message: Message) -> None:
        """Publish; return when the broker has confirmed. Calls are sent in their order. Raises TryAgain."""
        ...

    async def takes_messages(self) -> bool:
        """Return False when the broker has said that it takes no messages now. Raises TryAgain."""
        ...


ConnectPublisher = Callable[[], AbstractAsyncContextManager[Publisher]]
Sent = asyncio.Queue[tuple[int, "asyncio.Task[None] | None"]]


class Relay:
    """Publishes the events of the log from a checkpoint, in one of the processes at a time.

    After a failure it starts again at the checkpoint, so a subject's messages stay in order. The inbox drops
    the duplicates that this causes.
    """

    def __init__(
        self,
        log: EventLog,
        to_message: ToMessage,
        connect: ConnectPublisher,
        leases: Leases,
        faults: BrokerFaults,
    ) -> None:
        self._log = log
        self._to_message = to_message
        self._connect = connect
        self._leases = leases
        self._faults = faults
        self._read = self._confirmed = self._written = 0
        self._progress = asyncio.Event()

    async def run(self) -> None:
        """Relay until cancelled."""
        await lead(self._leases, TASK, self._relay)

    async def _relay(self, lease: Lease) -> None:
        try:
            await keep_running(
                partial(self._publish_from_checkpoint, lease),
                action="relay.waiting",
                on=(TryAgain, LogUnavailable),
                first=FIRST_PAUSE_SECONDS,
                longest=LONGEST_PAUSE_SECONDS,
            )
        finally:
            self._faults.forget(PUBLISHING, BLOCKED)  # the next leader finds its own

    async def _publish_from_checkpoint(self, lease: Lease) -> None:
        self._read = self._confirmed = self._written = await self._leases.checkpoint(TASK)
        try:
            async with self._connect() as publisher:
                await self._publish_on(lease, publisher)
        except (TryAgain, LogUnavailable) as error:
            metrics.publish_failures.inc()
            if isinstance(error, TryAgain):
                self._faults.note(PUBLISHING, str(error))
            raise

    async def _publish_on(self, lease: Lease, publisher: Publisher) -> None:
        sent: Sent = asyncio.Queue(PIPELINE)
        unconfirmed = Unconfirmed()
        try:
            await _until_one_fails(
                self._send(lease, publisher, sent, unconfirmed),
                self._confirm(sent),
                self._write_down(lease),
                self._watch(lease, publisher),
            )
        finally:
            await unconfirmed.end()

    async def _send(self, lease: Lease, publisher: Publisher, sent: Sent, unconfirmed: "Unconfirmed") -> None:
        async for events in self._log.tail(self._confirmed):
            messages = to_messages(events, self._to_message)
            self._read = events[-1].position
            self._leases.require(lease)  # a process that was stopped meanwhile publishes nothing more
            for event, message in zip(events, messages, strict=True):
                confirmed = None if message is None else unconfirmed.start(publisher.publish(message))
                await sent.put((event.position, confirmed))

    async def _confirm(self, sent: Sent) -> None:
        """Follow the confirmed prefix."""
        while True:
            position, confirmed = await sent.get()
            if confirmed is not None:
                await asyncio.shield(confirmed)  # Unconfirmed ends it
                metrics.published.inc()
            self._confirmed = position
            self._progress.set()

    async def _write_down(self, lease: Lease) -> None:
        """Keep the lease and move the checkpoint while messages are confirmed."""
        while True:
            await self._progress.wait()
            self._progress.clear()
            confirmed = self._confirmed
            await self._leases.keep(lease)
            if not await self._leases.move_checkpoint(lease, confirmed):
                raise LeaseLost
            self._written = confirmed
            await asyncio.sleep(BETWEEN_CHECKPOINTS_SECONDS)

    async def _watch(self, lease: Lease, publisher: Publisher) -> None:
        """Keep the lease while nothing is left to publish and write down; else a confirmed message keeps it.

        A broker that says that it takes nothing says so to all: then another process gets no further, either.
        This is noted, and ends with a confirmed message, or when none is left. A new connection alone ends no
        fault: the broker says that it is blocked only to those who publish.
        """
        began_at = self._confirmed
        while True:
            # No question to the database: this process hears of new events, or finds that it does not hear.
            has_more = self._read > self._written or await self._log.wait_beyond(self._written, 0)
            blocked = not await publisher.takes_messages()
            if blocked:
                self._faults.note(BLOCKED, LOW_ON_RESOURCES)
            elif self._confirmed > began_at or not has_more:
                self._faults.clear(BLOCKED, PUBLISHING)
            if blocked or not has_more:
                await self._leases.keep(lease)
            await asyncio.sleep(limits.RENEW)


async def _until_one_fails(*endless: Coroutine[Any, Any, None]) -> None:
    """Run all in parallel; when the first one fails, stop the others and raise its error.

    Not a task group: cancelled while a task fails, it raises the failure and hides the cancellation.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in endless]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Unconfirmed:
    """Messages that are being published and are not confirmed yet."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, publishing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start publishing; calls are sent in their order."""
        task = asyncio.create_task(publishing)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def end(self) -> None:
        """Wait shortly for the unconfirmed messages; those that fail are published again later."""
        # Cancelling is the last resort: aiormq's reader fails on a message that is returned to a cancelled
        # call, and a channel without its reader takes a minute to close.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_CONFIRMS_SECONDS)
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not warn; the awaiting task gets it, too
