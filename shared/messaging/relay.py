"""The relay: the log is the outbox; everything in it that is published reaches the broker, in order (A3)."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog

from shared.event_log import EventLog, LogUnavailable
from shared.messaging import metrics
from shared.messaging.envelope import Message
from shared.messaging.errors import TryAgain
from shared.messaging.feed import ToMessage, to_messages
from shared.platform.leases import Lease, LeaseLost, Leases, lead

TASK = "relay"
# Published and not yet confirmed, at most: what bounds the memory, and the duplicates after a failure.
PIPELINE = 500
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
LAST_CONFIRMS_SECONDS = 2.0
MEASURE_EVERY = 5.0

log = structlog.get_logger(__name__)


class Publisher(Protocol):
    """A connection to the broker."""

    async def publish(self, message: Message) -> None:
        """Returns when the broker has confirmed. Calls are sent in their order. Raises TryAgain."""
        ...


ConnectPublisher = Callable[[], AbstractAsyncContextManager[Publisher]]
Sent = asyncio.Queue[tuple[int, "asyncio.Task[None] | None"]]


class Relay:
    """Publishes what comes into the log, from a checkpoint, in one of the processes at a time.

    A failure begins again at the checkpoint, so that a guest's messages stay in order; the duplicates that
    this makes are dropped by the inbox.
    """

    def __init__(
        self, log: EventLog, to_message: ToMessage, connect: ConnectPublisher, leases: Leases
    ) -> None:
        self._log = log
        self._to_message = to_message
        self._connect = connect
        self._leases = leases
        self._confirmed = 0

    async def run(self) -> None:
        """Relays for ever, until cancelled."""
        await lead(self._leases, TASK, self._relay)

    async def _relay(self, lease: Lease) -> None:
        pause = FIRST_PAUSE
        while True:
            before = self._confirmed = await self._leases.checkpoint(TASK)
            try:
                async with self._connect() as publisher:
                    await self._publish_on(lease, publisher)
            except (TryAgain, LogUnavailable) as error:
                metrics.publish_failures.inc()
                log.warning("relay.waiting", reason=str(error), position=self._confirmed)
            pause = FIRST_PAUSE if self._confirmed > before else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _publish_on(self, lease: Lease, publisher: Publisher) -> None:
        sent: Sent = asyncio.Queue(PIPELINE)
        under_way = UnderWay()
        try:
            await _until_one_fails(
                self._send(publisher, sent, under_way), self._follow_confirms(lease, sent), self._measure()
            )
        finally:
            await under_way.end()

    async def _send(self, publisher: Publisher, sent: Sent, under_way: "UnderWay") -> None:
        async for events in self._log.tail(self._confirmed):
            messages = await to_messages(events, self._to_message, self._log)
            for event, message in zip(events, messages, strict=True):
                confirmed = None if message is None else under_way.start(publisher.publish(message))
                await sent.put((event.position, confirmed))

    async def _follow_confirms(self, lease: Lease, sent: Sent) -> None:
        """Moves the checkpoint over what is confirmed without a gap; not for each when many are under way."""
        written = self._confirmed
        while True:
            position, confirmed = await sent.get()
            if confirmed is not None:
                await asyncio.shield(confirmed)  # its own end is up to UnderWay
                metrics.published.inc()
            self._confirmed = position
            if sent.empty() or position >= written + PIPELINE:
                if not await self._leases.move_checkpoint(lease, position):
                    raise LeaseLost
                written = position

    async def _measure(self) -> None:
        while True:
            metrics.relay_lag.set(await self._log.position() - self._confirmed)
            await asyncio.sleep(MEASURE_EVERY)


async def _until_one_fails(*endless: Coroutine[Any, Any, None]) -> None:
    """Runs them side by side and raises what the first one fails with; then none of them runs any more.

    Not a task group: one that fails while it is cancelled hides the cancellation behind the failure.
    """
    tasks = [asyncio.ensure_future(each) for each in endless]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class UnderWay:
    """What is being published and not yet confirmed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, publishing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts publishing; calls are sent in their order."""
        task = asyncio.create_task(publishing)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def end(self) -> None:
        """Waits shortly for what is under way, whatever becomes of it: it will be published again."""
        # Cancelling is the last resort: aiormq's reader dies of a message that is returned to a cancelled
        # call, and a channel without its reader does not close for a minute.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_CONFIRMS_SECONDS)
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio need not complain: who awaits the task has it too
