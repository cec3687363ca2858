"""Webhooks: messages of the log to receivers that have neither a broker nor a poller, each at its own pace.

Every receiver has a checkpoint of its own in the log. Messages of one subject are sent in their order. A
crash between a message and its checkpoint sends it again, with the same `webhook-id`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from uuid import UUID

import structlog

from shared.event_log import EventLog
from shared.event_log.types import RecordedEvent
from shared.messaging.envelope import Message
from shared.messaging.feed import ToMessage, to_messages
from shared.messaging.webhook_receivers import Receiver
from shared.messaging.webhook_sender import AT_ONCE, Failure, WebhookSender
from shared.messaging.webhook_state import (
    LONGEST_RETRY_AFTER_SECONDS,
    TASK_PREFIX,
    WaitingSubject,
    WebhookState,
)
from shared.platform import limits
from shared.platform.leases import Lease, LeaseLost, Leases, lead
from shared.platform.lifecycle import end

BATCH = 100
"""Events after which the checkpoint moves."""
MOST_FAILING = 5
"""So many subjects may fail with no success since. Then the receiver counts as down, and the log waits."""
PROBE_SECONDS = 15.0
"""Between two new messages to a receiver that counts as down: it may only mind those that wait."""
RETRIES_IN_TURN = 4
"""Due attempts between two batches: old messages do not hold up the new ones for long."""
REST_SECONDS = 1.0

OrganisationsOf = Callable[[Collection[UUID]], Awaitable[Mapping[UUID, str]]]
"""From subjects to their organisations. One that has none is left out."""

log = structlog.get_logger(__name__)


class ReceiverGone(Exception):
    """The receiver wants no messages any more; the text says how it said so."""


class WebhookDelivery:
    """Delivers to one receiver, in one of the processes at a time."""

    def __init__(
        self,
        receiver: Receiver,
        *,
        log: EventLog,
        to_message: ToMessage,
        organisations_of: OrganisationsOf,
        state: WebhookState,
        leases: Leases,
    ) -> None:
        self._receiver = receiver
        self._name = receiver.name
        self._log = log
        self._to_message = to_message
        self._organisations_of = organisations_of
        self._state = state
        self._leases = leases
        self._position = 0
        self._taken: set[int] = set()
        """Positions after the checkpoint that the receiver has taken already."""
        self._failing = 0
        self._probe_at = self._quiet_until = 0.0

    async def run(self) -> None:
        """Deliver whenever this process leads, until cancelled."""
        await lead(self._leases, TASK_PREFIX + self._name, self._deliver)

    async def _deliver(self, lease: Lease) -> None:
        async with WebhookSender(self._receiver) as sender:
            stopped = await self._state.is_stopped(self._name)
            self._position, self._taken = await self._begin(lease), set()
            while True:
                if not stopped:
                    try:
                        await self._step(sender, lease)
                    except* ReceiverGone as gone:
                        await self._state.stop(self._name, str(gone.exceptions[0]))
                else:
                    await self._leases.rest(lease, REST_SECONDS)
                await self._leases.keep(lease)
                stopped = await self._state.is_stopped(self._name)

    async def _begin(self, lease: Lease) -> int:
        """Return the checkpoint. A new receiver begins at the end of the log, unless it wants all of it."""
        if (known := await self._leases.find_checkpoint(lease.name)) is not None:
            return known
        first = await self._log.position() if self._receiver.setting.start == "now" else 0
        await self._move(lease, first)
        return first

    async def _move(self, lease: Lease, position: int) -> None:
        if not await self._leases.move_checkpoint(lease, position):
            raise LeaseLost
        self._position = position
        self._taken.clear()

    async def _step(self, sender: WebhookSender, lease: Lease) -> None:
        """Try what is due again, and then send what is new; when there is nothing, wait a little."""
        if self._is_to_be_quiet():
            await self._leases.rest(lease, REST_SECONDS)
            return
        for found in await self._state.due(self._name, RETRIES_IN_TURN):
            await self._try_again(found, sender, lease)
        self._failing = await self._state.failing(self._name)
        if self._failing >= MOST_FAILING:
            await self._probe(sender, lease)
            await self._leases.rest(lease, REST_SECONDS)
            return
        events = await self._log.read(self._position, BATCH)
        if not events:
            await self._log.wait_beyond(self._position, REST_SECONDS)
        elif await self._send_all(await self._wanted(events), sender, lease):
            await self._move(lease, events[-1].position)

    async def _probe(self, sender: WebhookSender, lease: Lease) -> None:
        """Send one new message now and then. If it is taken, the receiver is not down."""
        now = asyncio.get_running_loop().time()
        if now < self._probe_at:
            return
        self._probe_at = now + PROBE_SECONDS
        events = await self._log.read(self._position, BATCH)
        messages = await self._new(await self._wanted(events))
        if messages and await self._send(messages[0], sender, lease) is None:
            self._taken.add(messages[0].position)
        elif events and not messages:  # all of these are kept back already
            await self._move(lease, events[-1].position)

    async def _new(self, messages: Sequence[Message]) -> list[Message]:
        """Return those that were not taken yet, of subjects that are not kept back."""
        new = [message for message in messages if message.position not in self._taken]
        kept_back = await self._state.kept_back(self._name, {message.subject for message in new})
        return [message for message in new if message.subject not in kept_back]

    async def _wanted(self, events: Sequence[RecordedEvent]) -> list[Message]:
        """Return the messages of these events that the receiver gets."""
        setting = self._receiver.setting
        messages = [
            message
            for message in to_messages(events, self._to_message)
            if message is not None and (not setting.types or message.type in setting.types)
        ]
        if not setting.organisations:
            return messages
        found = await self._organisations_of({message.subject for message in messages})
        return [message for message in messages if found.get(message.subject) in setting.organisations]

    async def _send_all(self, messages: Sequence[Message], sender: WebhookSender, lease: Lease) -> bool:
        """Send these, those of different subjects at once; return False when the receiver counts as down.

        Messages of a subject that failed are kept back with all that follow; they are in the log.
        """
        new = sorted(await self._new(messages), key=attrgetter("subject", "position"))
        waiting = [list(of_one) for _, of_one in groupby(new, attrgetter("subject"))]
        waiting.sort(key=lambda of_one: of_one[0].position)
        queue = iter(waiting)

        async def work() -> None:
            for of_one in queue:
                await self._send_in_order(of_one, sender, lease)
                if self._failing >= MOST_FAILING or self._is_to_be_quiet():
                    return

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(AT_ONCE, len(waiting))):
                workers.create_task(work())
        return next(queue, None) is None and self._failing < MOST_FAILING

    async def _send_in_order(self, messages: Sequence[Message], sender: WebhookSender, lease: Lease) -> None:
        for message in messages:
            failure = await self._send(message, sender, lease)
            if failure is not None:
                where = (message.subject, message.stream_version, message.position)
                await self._state.park(self._name, where, failure)
                self._failing += 1
                return
            self._taken.add(message.position)
            self._failing = 0

    async def _send(self, message: Message, sender: WebhookSender, lease: Lease) -> Failure | None:
        """Send one message. Raises ReceiverGone, LeaseLost."""
        failure = await sender.send(message)
        await self._leases.keep(lease)
        if failure is None:
            await self._state.delivered(self._name, 1)
            return None
        if failure.retry_after is not None and not failure.refused:  # it is about all messages
            pause = min(failure.retry_after, LONGEST_RETRY_AFTER_SECONDS)
            self._quiet_until = asyncio.get_running_loop().time() + pause
        await self._state.failed(self._name, failure)
        if failure.gone:
            raise ReceiverGone(failure.reason)
        reason = {"receiver": self._name, "position": message.position, "reason": failure.reason}
        log.warning("webhook.not_taken", **reason)
        return failure

    def _is_to_be_quiet(self) -> bool:
        """Return whether the receiver asked for a pause (`Retry-After`) that is not over."""
        return asyncio.get_running_loop().time() < self._quiet_until

    async def _try_again(self, found: WaitingSubject, sender: WebhookSender, lease: Lease) -> None:
        """Send the messages of a waiting subject in order, up to the checkpoint, until one fails again."""
        events = await self._log.stream(found.subject, after_version=found.version - 1)
        until = max(self._position, found.position)
        last = found.version - 1
        for message in await self._wanted([event for event in events if event.position <= until]):
            failure = await self._send(message, sender, lease)
            if failure is not None:
                now = replace(found, version=message.stream_version, position=message.position)
                minutes = self._receiver.setting.park_after_minutes
                await self._state.failed_again(self._name, now, failure, minutes * 60.0)
                return
            last = message.stream_version
            self._taken.add(message.position)
            await self._state.went_on(self._name, found.subject, last)
        await self._state.done(self._name, found.subject, max(last, found.version))


class Webhooks:
    """The deliveries to all receivers of the settings in use, which may change."""

    def __init__(
        self,
        receivers: Callable[[], Mapping[str, Receiver]],
        delivery_to: Callable[[Receiver], WebhookDelivery],
    ) -> None:
        self._receivers = receivers
        self._delivery_to = delivery_to
        self._running: dict[str, tuple[Receiver, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Deliver until cancelled. A receiver whose settings changed begins again at its checkpoint."""
        try:
            while True:
                await self._follow(self._receivers())
                await asyncio.sleep(REST_SECONDS)
        finally:
            await end([task for _, task in self._running.values()], limits.LAST_WORK)

    async def _follow(self, receivers: Mapping[str, Receiver]) -> None:
        over = {
            name: task
            for name, (receiver, task) in self._running.items()
            if receivers.get(name) != receiver or task.done()
        }
        await end(list(over.values()), limits.LAST_WORK)
        for name in over:
            del self._running[name]
        for name in receivers.keys() - self._running.keys():
            delivery = self._delivery_to(receivers[name])
            task = asyncio.create_task(delivery.run(), name=f"webhook {name}")
            self._running[name] = (receivers[name], task)
