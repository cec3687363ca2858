"""RabbitMQ: publishing and consuming, on version 3.10 up to 4 (ADR 0013)."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import cast

import aio_pika
import aiormq
import structlog
from aio_pika import DeliveryMode
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
)
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelClosed, PublishError
from aiormq.abc import ChannelFrame, DeliveredMessage
from aiormq.channel import Returning
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from shared.messaging import metrics
from shared.messaging.broker_connection import Asking, Step, open_connection, text_of
from shared.messaging.broker_faults import CONSUMING, BrokerFaults
from shared.messaging.envelope import CONTENT_TYPE, TYPE_PREFIX, Message
from shared.messaging.errors import BrokerUnavailable, MalformedMessage, NotAuthentic, Unroutable
from shared.messaging.exchanges import (
    LARGEST_MESSAGE,
    SUBJECT_HEADER,
    declare_events,
    declare_rejected,
    declare_share,
    declare_subjects,
    follow,
    shares_of,
)
from shared.messaging.inbox import Inbox
from shared.messaging.signing import SIGNATURE_HEADER, SigningKeys
from shared.platform import limits
from shared.platform.retry import keep_running


@asynccontextmanager
async def publishing(urls: str, service: str, keys: SigningKeys) -> AsyncIterator["RabbitPublisher"]:
    """Open a publisher on the exchange of a service. Raises BrokerUnavailable."""
    async with open_connection(urls) as connection:
        async with asyncio.timeout(limits.BROKER_ANSWER):
            channel = await connection.channel(on_return_raises=True)
            await declare_events(channel, service)
        yield RabbitPublisher(connection, service, await _underlay(channel), keys)


async def _underlay(channel: AbstractChannel) -> aiormq.Channel:
    """Return the channel of the library below, which makes no objects and tasks of its own per message."""
    return cast("aiormq.Channel", await channel.get_underlay_channel())


class RabbitPublisher:
    """Publishes signed, persistent messages, confirmed and mandatory: what no queue takes is returned."""

    def __init__(
        self, connection: AbstractConnection, service: str, channel: aiormq.Channel, keys: SigningKeys
    ) -> None:
        self._connection = connection
        self._service = service
        self._channel = channel
        self._keys = keys
        self._unsent: list[bytes] = []
        self._sending = asyncio.Lock()
        self._declared_at = time.monotonic()
        channel.closing.add_done_callback(self._lose_unconfirmed)

    async def publish(self, message: Message) -> None:
        """Publish; return when a queue has it on disk. Raises Unroutable, BrokerUnavailable.

        `Channel.basic_publish` does the same with half as much work again: a lock, a write to the socket and
        a dozen callbacks for each message.
        """
        if self._channel.is_closed:
            raise BrokerUnavailable("the connection ended")
        try:
            async with asyncio.timeout(limits.BROKER_ANSWER):
                confirmed = self._add(message)
                await asyncio.sleep(0)  # what is published at the same moment is sent together
                await self._send()
                await confirmed
        except PublishError as error:
            raise Unroutable(f"no queue takes {message.type}") from error
        except CONNECTION_EXCEPTIONS as error:
            raise BrokerUnavailable(text_of(error)) from error

    def _add(self, message: Message) -> asyncio.Future[object]:
        """Add a message to those to send. The future ends with its confirm, or when it is returned."""
        channel, body = self._channel, message.to_json()
        routing_key, message_id = TYPE_PREFIX + message.type, str(message.id)
        parts = range(0, len(body), channel.max_content_size)
        frames: list[Frame | ContentHeader | ContentBody] = [
            Basic.Publish(exchange=f"{self._service}.events", routing_key=routing_key, mandatory=True),
            ContentHeader(properties=properties_of(message, self._keys.sign(body)), body_size=len(body)),
            *(ContentBody(body[start : start + parts.step]) for start in parts),
        ]
        self._unsent.append(ChannelFrame.marshall(channel.number, frames).payload)
        channel.delivery_tag += 1
        confirmed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        channel.confirmations[channel.delivery_tag] = confirmed
        channel.message_id_delivery_tag[message_id] = channel.delivery_tag
        confirmed.add_done_callback(lambda _: channel.message_id_delivery_tag.pop(message_id, None))
        return confirmed

    async def _send(self) -> None:
        """Send what was added, in the order in which the broker's confirms number it."""
        async with self._sending:
            if together := self._unsent.copy():
                await self._channel.write_queue.put(ChannelFrame(b"".join(together), should_close=False))
                del self._unsent[: len(together)]

    def _lose_unconfirmed(self, _: object) -> None:
        for confirmed in self._channel.confirmations.values():
            if not confirmed.done() and not isinstance(confirmed, Returning):
                confirmed.set_exception(BrokerUnavailable("the connection ended"))

    async def takes_messages(self) -> bool:
        """Return whether the broker takes messages; declare the exchange again at times: it may be deleted.

        It does not after `connection.blocked`, until `connection.unblocked`. Raises BrokerUnavailable.
        """
        if self._connection.is_closed or (transport := self._connection.transport) is None:
            raise BrokerUnavailable("the connection ended")
        try:
            async with asyncio.timeout(0):
                await transport.connection.ready()
        except TimeoutError:
            return False
        if time.monotonic() - self._declared_at < DECLARE_EVERY_SECONDS:
            return True
        try:
            async with asyncio.timeout(limits.BROKER_ANSWER), self._connection.channel() as channel:
                await declare_events(channel, self._service)
            self._declared_at = time.monotonic()
        except CONNECTION_EXCEPTIONS as error:
            raise BrokerUnavailable(text_of(error)) from error
        return True


def properties_of(message: Message, signature: Mapping[str, str]) -> Basic.Properties:
    """Return the properties of a message as it is published: persistent, with its subject in a header."""
    return Basic.Properties(
        headers={SUBJECT_HEADER: str(message.subject), **signature},
        content_type=CONTENT_TYPE,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=str(message.id),
        message_type=TYPE_PREFIX + message.type,
        timestamp=message.time,
    )


DECLARE_EVERY_SECONDS = 3.0
"""Between two declarations of the exchange on which a service publishes."""
PREFETCH = 200
"""The most unacknowledged messages of one queue; its subjects are processed in parallel."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0
LOOK_EVERY_SECONDS = 5.0
"""After so long everything is declared and bound again: a binding or an exchange may have been deleted."""
GONE_SECONDS = 0.5
"""So long a queue that was deleted stays away, until all its consumers have heard of it."""

log = structlog.get_logger(__name__)


class Acknowledgements:
    """Acknowledges the deliveries of one channel, in any order; the broker numbers them from 1."""

    def __init__(self, channel: aiormq.Channel) -> None:
        self._channel = channel
        self._sending = asyncio.Lock()
        self._new: set[int] = set()
        self._ahead: set[int] = set()
        self._up_to = 0
        """All deliveries up to this one are done; of later ones, those in `_ahead`."""

    async def add(self, tag: int) -> None:
        """Acknowledge a delivery; those that are done at the same moment are acknowledged together."""
        self._new.add(tag)
        await asyncio.sleep(0)
        async with self._sending:
            if tag in self._new:
                await self._send()

    async def _send(self) -> None:
        new, self._new = self._new, set()
        self._ahead |= new
        while self._up_to + 1 in self._ahead:
            self._up_to += 1
            self._ahead.remove(self._up_to)
        # The broker refuses a number that was acknowledged before.
        if through := max((tag for tag in new if tag <= self._up_to), default=0):
            await self._channel.basic_ack(through, multiple=True, wait=False)
        for ahead in new & self._ahead:
            await self._channel.basic_ack(ahead, wait=False)


class Consumer:
    """Consumes a service's queues of the other service's events. A message is never returned to its queue.

    That would put it behind later messages of the same subject. The inbox parks what cannot be applied. While
    the database is down, not even that works: then the message stays unacknowledged and is tried again.

    Each queue has a channel of its own, so that one that cannot be used leaves the others at work. What is
    gone or was cancelled by the broker is declared, bound and consumed again.
    """

    def __init__(
        self,
        urls: str,
        inbox: Inbox,
        *,
        source: str,
        consumer: str,
        keys: SigningKeys,
        faults: BrokerFaults,
        unsigned_until: datetime | None = None,
    ) -> None:
        self._urls = urls
        self._keys = keys
        self._unsigned_until = unsigned_until
        self._rejected: tuple[AbstractChannel, AbstractExchange] | None = None
        self._inbox = inbox
        self._consumer = consumer
        self._in_process: set[asyncio.Task[None]] = set()
        self._faults = faults
        self._steps = self._steps_for(source)
        self._consumed: dict[str, tuple[aiormq.Channel, str]] = {}  # by queue: its channel, and our tag
        self._changed = asyncio.Event()
        faults.expect(CONSUMING)

    def _steps_for(self, source: str) -> Mapping[str, Step]:
        """Return what has to be there, by name, in the order of declaring."""
        return {
            f"{self._consumer}.rejected": partial(declare_rejected, consumer=self._consumer),
            f"{self._consumer}.guests": partial(declare_subjects, consumer=self._consumer),
            **{
                name: partial(declare_share, consumer=self._consumer, name=name)
                for name in shares_of(self._consumer)
            },
            f"{source}.events": partial(follow, source=source, consumer=self._consumer),
        }

    async def run(self) -> None:
        """Consume until cancelled; then finish the messages in process first."""
        await keep_running(
            self._consume_once,
            action="consumer.waiting",
            on=BrokerUnavailable,
            first=FIRST_PAUSE_SECONDS,
            longest=LONGEST_PAUSE_SECONDS,
        )

    async def _consume_once(self) -> None:
        try:
            async with open_connection(self._urls) as connection:
                await self._consume_on(connection)
        except BrokerUnavailable as error:
            self._faults.note(CONSUMING, str(error))
            raise

    async def _consume_on(self, connection: AbstractConnection) -> None:
        self._consumed.clear()
        self._rejected = None
        connection.close_callbacks.add(lambda *_: self._changed.set())
        failures = 0
        try:
            while not connection.is_closed:
                self._changed.clear()
                failures = 0 if await self._look(connection) else failures + 1
                pause = min(FIRST_PAUSE_SECONDS * 2**failures, LOOK_EVERY_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause if failures else LOOK_EVERY_SECONDS):
                        await self._changed.wait()
        finally:
            with suppress(*CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(limits.BROKER_CLOSE):
                    for channel, tag in self._consumed.values():
                        await channel.basic_cancel(tag)
            await self._finish()
            self._faults.forget(*self._steps)

    def _cancelled_by_broker(self, name: str, _: Basic.Cancel) -> None:
        """Consume the queue again: it was deleted, for example."""
        self._consumed.pop(name, None)
        self._changed.set()

    async def _look(self, connection: AbstractConnection) -> bool:
        """Declare, bind and consume what is not there; return whether all is. The rest goes on.

        On new channels: one that fails is closed, and RabbitMQ remembers permissions as long as it is open.
        """
        sound = True
        if self._rejected is None or self._rejected[0].is_closed:
            async with asyncio.timeout(limits.BROKER_ANSWER):
                channel = await connection.channel(on_return_raises=True)
            self._rejected = channel, await channel.get_exchange(f"{self._consumer}.rejected", ensure=False)
        async with Asking(connection) as asking:
            await self._leave_what_is_gone(asking)
            for name, step in self._steps.items():
                try:
                    await asking.ask(step)
                    async with asyncio.timeout(limits.BROKER_ANSWER):
                        await self._consume(connection, name)
                except (ChannelClosed, TimeoutError) as error:
                    self._faults.note(name, text_of(error))
                    sound = False
                else:
                    self._faults.clear(name)
        self._faults.clear(CONSUMING)
        return sound

    async def _leave_what_is_gone(self, asking: Asking) -> None:
        """Close the channels of queues that are not there, before these are declared again.

        A channel that hears of the end of its queue when there is a new one of this name counts as its
        consumer, is never cancelled, and gets no message. So other workers get a moment to hear of it, too.
        """
        gone = [name for name in list(self._consumed) if await asking.is_gone(name)]
        if gone:
            await asyncio.sleep(GONE_SECONDS)
        async with asyncio.timeout(limits.BROKER_ANSWER):
            for channel, _ in filter(None, [self._consumed.pop(name, None) for name in gone]):
                await channel.close()

    async def _consume(self, connection: AbstractConnection, name: str) -> None:
        """Consume one of the queues, unless that is so; each on its own channel."""
        consumed, _ = self._consumed.get(name, (None, ""))
        if name not in shares_of(self._consumer) or (consumed and not consumed.is_closed):
            return
        channel = await _underlay(await connection.channel())
        await channel.basic_qos(prefetch_count=PREFETCH)
        channel.on_consumer_cancel_callbacks.add(partial(self._cancelled_by_broker, name))
        begun = await channel.basic_consume(name, partial(self._start, Acknowledgements(channel)))
        self._consumed[name] = channel, str(begun.consumer_tag)
        log.info("consumer.consuming", queue=name)

    async def _start(self, acknowledgements: Acknowledgements, delivery: DeliveredMessage) -> None:
        # Started in the order of the queue: the inbox processes one subject's messages in that order.
        task = asyncio.create_task(self._process(acknowledgements, delivery))
        self._in_process.add(task)
        task.add_done_callback(self._in_process.discard)

    async def _process(self, acknowledgements: Acknowledgements, delivery: DeliveredMessage) -> None:
        try:
            self._verify(delivery)
            await self._receive(delivery.body)
        except NotAuthentic as error:
            await self._reject(delivery, str(error))
        try:
            await acknowledgements.add(delivery.delivery_tag or 0)
        except CONNECTION_EXCEPTIONS as error:
            # It is delivered again, and dropped as known.
            log.info("message.not_acknowledged", reason=str(error))

    def _verify(self, delivery: DeliveredMessage) -> None:
        """Raise NotAuthentic unless the message is signed, or may still be unsigned after an upgrade."""
        if len(delivery.body) > LARGEST_MESSAGE:
            raise NotAuthentic(f"it has more than {LARGEST_MESSAGE} bytes")
        until, headers = self._unsigned_until, delivery.header.properties.headers or {}
        if SIGNATURE_HEADER in headers or until is None or datetime.now(UTC) >= until:
            self._keys.verify(delivery.body, headers)

    async def _reject(self, delivery: DeliveredMessage, reason: str) -> None:
        """Move a message that is not authentic to the queue of rejected ones; it holds nobody up."""
        metrics.rejected.inc()
        log.error("message.rejected", reason=reason, bytes=len(delivery.body))
        if self._rejected is None:
            return
        message = aio_pika.Message(
            delivery.body[:LARGEST_MESSAGE],
            headers={"reason": reason, "routing-key": delivery.routing_key or ""},
            content_type=delivery.header.properties.content_type,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        with suppress(*CONNECTION_EXCEPTIONS, PublishError):  # it is delivered again, or only counted
            await self._rejected[1].publish(message, routing_key="", timeout=limits.BROKER_ANSWER)

    async def _receive(self, body: bytes) -> None:
        try:
            message = Message.from_json(body)
        except MalformedMessage as error:
            await self._inbox.receive_unreadable(body, str(error))
        else:
            await self._inbox.receive_or_park(message)

    async def _finish(self) -> None:
        """Wait some seconds for the messages in process; the others are delivered again."""
        if not self._in_process:
            return
        _, late = await asyncio.wait(self._in_process, timeout=limits.LAST_WORK / 2)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
