"""RabbitMQ: exchanges and queues, publishing and consuming, on version 3.10 up to 4 (ADR 0013)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit, urlunsplit

import aio_pika
import structlog
from aio_pika import DeliveryMode, ExchangeType
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, PublishError
from pamqp.common import Arguments

from shared.messaging import metrics
from shared.messaging.envelope import CONTENT_TYPE, TYPE_PREFIX, Message
from shared.messaging.errors import (
    BrokerUnavailable,
    MalformedMessage,
    NotAuthentic,
    Unroutable,
)
from shared.messaging.inbox import Inbox
from shared.messaging.signing import SIGNATURE_HEADER, SigningKeys
from shared.platform import limits
from shared.platform.retry import keep_running

SUBJECT_HEADER = "guest-id"
DELIVERY_LIMIT = 1000
"""A worker that dies again and again gets the same message again; after this the feed poller brings it."""

LARGEST_MESSAGE = 256 * 1024
"""In bytes; ours have some thousands. The brokers of this repository take no larger one (`max_message_size`).
Of one from another broker, only so much is kept."""

MOST_REJECTED = 10_000
"""Rejected messages that are kept for an operator; the oldest are dropped first."""

EXCHANGE_ARGUMENTS: Arguments = {"hash-header": SUBJECT_HEADER}
QUEUE_ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-delivery-limit": DELIVERY_LIMIT,
}


@asynccontextmanager
async def open_channel(url: str) -> AsyncIterator[AbstractChannel]:
    """Open a channel with confirms on its own connection. Raises BrokerUnavailable, also from the body."""
    # Not a robust connection: it reconnects unseen, and still raises when publishing during an outage. The
    # caller waits and opens a new one.
    try:
        connection = await aio_pika.connect(with_heartbeat(url), timeout=limits.BROKER_CONNECT)
        try:
            async with asyncio.timeout(limits.BROKER_ANSWER):
                channel = await connection.channel(on_return_raises=True)
            yield channel
        finally:
            # An error while closing must not hide why it is closed: a cancellation, for example.
            with suppress(*CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(limits.BROKER_CLOSE):
                    await connection.close()
    except CONNECTION_EXCEPTIONS as error:
        raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error


def with_heartbeat(url: str) -> str:
    """Return the broker's address with our heartbeat, unless it names one: it finds a silent broker."""
    parts = urlsplit(url)
    if "heartbeat" in parse_qs(parts.query):
        return url
    query = "&".join(filter(None, [parts.query, f"heartbeat={limits.HEARTBEAT}"]))
    return urlunsplit(parts._replace(query=query))


async def declare_events(channel: AbstractChannel, service: str) -> AbstractExchange:
    """Declare the exchange on which a service publishes."""
    return await channel.declare_exchange(f"{service}.events", ExchangeType.TOPIC, durable=True)


async def declare_rejected(channel: AbstractChannel, consumer: str) -> AbstractExchange:
    """Declare the exchange and the bounded queue for messages that are not authentic."""
    exchange = await channel.declare_exchange(f"{consumer}.rejected", ExchangeType.FANOUT, durable=True)
    queue = await channel.declare_queue(
        f"{consumer}.rejected",
        durable=True,
        arguments={"x-queue-type": "quorum", "x-max-length": MOST_REJECTED},
    )
    await queue.bind(exchange)
    return exchange


async def declare_queues(
    channel: AbstractChannel, *, source: str, consumer: str, queues: int
) -> list[AbstractQueue]:
    """Declare the consumer's queues for the events of `source`; declaring them again changes nothing.

    The exchange of `source` belongs to the other service, whose relay declares it: the user of this service
    may read it and not configure it.
    """
    subjects = await channel.declare_exchange(
        f"{consumer}.guests", ExchangeType.X_CONSISTENT_HASH, durable=True, arguments=EXCHANGE_ARGUMENTS
    )
    declared = []
    for number in range(queues):
        queue = await channel.declare_queue(
            f"{consumer}.guests.{number}", durable=True, arguments=QUEUE_ARGUMENTS
        )
        await queue.bind(subjects, routing_key="1")  # an equal share of the subjects for every queue
        declared.append(queue)
    await subjects.bind(await channel.get_exchange(f"{source}.events", ensure=True), routing_key="#")
    return declared


@asynccontextmanager
async def publishing(url: str, service: str, keys: SigningKeys) -> AsyncIterator["RabbitPublisher"]:
    """Open a publisher on the exchange of a service. Raises BrokerUnavailable."""
    async with open_channel(url) as channel:
        async with asyncio.timeout(limits.BROKER_ANSWER):
            events = await declare_events(channel, service)
        yield RabbitPublisher(events, keys)


class RabbitPublisher:
    """Publishes signed, persistent messages, confirmed and mandatory: what no queue takes is returned."""

    def __init__(self, exchange: AbstractExchange, keys: SigningKeys) -> None:
        self._exchange = exchange
        self._keys = keys

    async def publish(self, message: Message) -> None:
        """Publish; return when a queue has it on disk. Raises Unroutable, BrokerUnavailable."""
        try:
            await self._exchange.publish(
                _to_amqp(message, self._keys),
                routing_key=TYPE_PREFIX + message.type,
                mandatory=True,
                timeout=limits.BROKER_ANSWER,
            )
        except PublishError as error:
            raise Unroutable(f"no queue takes {message.type}") from error
        except CONNECTION_EXCEPTIONS as error:
            raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            # When the connection ends, the library cancels calls that wait for a confirm; our task goes on.
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            raise BrokerUnavailable("the connection ended") from None


def _to_amqp(message: Message, keys: SigningKeys) -> aio_pika.Message:
    body = message.to_json()
    return aio_pika.Message(
        body,
        headers={SUBJECT_HEADER: str(message.subject), **keys.sign(body)},
        content_type=CONTENT_TYPE,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=str(message.id),
        type=TYPE_PREFIX + message.type,
        timestamp=message.time,
    )


QUEUES = 4
PREFETCH = 200
"""The most unacknowledged messages; subjects of one queue are processed in parallel."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 2.0

log = structlog.get_logger(__name__)


class Consumer:
    """Consumes a service's queues of the other service's events. A message is never returned to its queue.

    That would put it behind later messages of the same subject. The inbox parks what cannot be applied. While
    the database is down, not even that works: then the message stays unacknowledged and is tried again.
    """

    def __init__(
        self,
        url: str,
        inbox: Inbox,
        *,
        source: str,
        consumer: str,
        keys: SigningKeys,
        unsigned_until: datetime | None = None,
        queues: int = QUEUES,
    ) -> None:
        self._url = url
        self._keys = keys
        self._unsigned_until = unsigned_until
        self._rejected: AbstractExchange | None = None
        self._inbox = inbox
        self._source = source
        self._consumer = consumer
        self._queues = queues
        self._in_process: set[asyncio.Task[None]] = set()

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
        async with open_channel(self._url) as channel:
            await self._consume(channel)

    async def _consume(self, channel: AbstractChannel) -> None:
        async with asyncio.timeout(limits.BROKER_ANSWER):
            await channel.set_qos(prefetch_count=PREFETCH)
            self._rejected = await declare_rejected(channel, self._consumer)
            queues = await declare_queues(
                channel, source=self._source, consumer=self._consumer, queues=self._queues
            )
            tags = [(queue, await queue.consume(self._start)) for queue in queues]
        log.info("consumer.consuming", queues=[queue.name for queue in queues])
        try:
            await channel.closed()
        finally:
            with suppress(*CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(limits.BROKER_CLOSE):
                    for queue, tag in tags:
                        await queue.cancel(tag)
            await self._finish()

    async def _start(self, delivery: AbstractIncomingMessage) -> None:
        # Started in the order of the queue: the inbox processes one subject's messages in that order.
        task = asyncio.create_task(self._process(delivery))
        self._in_process.add(task)
        task.add_done_callback(self._in_process.discard)

    async def _process(self, delivery: AbstractIncomingMessage) -> None:
        try:
            self._verify(delivery)
            await self._receive(delivery.body)
        except NotAuthentic as error:
            await self._reject(delivery, str(error))
        try:
            await delivery.ack()
        except CONNECTION_EXCEPTIONS as error:
            # It is delivered again, and dropped as known.
            log.info("message.not_acknowledged", reason=str(error))

    def _verify(self, delivery: AbstractIncomingMessage) -> None:
        """Raise NotAuthentic unless the message is signed, or may still be unsigned after an upgrade."""
        if len(delivery.body) > LARGEST_MESSAGE:
            raise NotAuthentic(f"it has more than {LARGEST_MESSAGE} bytes")
        until = self._unsigned_until
        if SIGNATURE_HEADER in delivery.headers or until is None or datetime.now(UTC) >= until:
            self._keys.verify(delivery.body, delivery.headers)

    async def _reject(self, delivery: AbstractIncomingMessage, reason: str) -> None:
        """Move a message that is not authentic to the queue of rejected ones; it holds nobody up."""
        metrics.rejected.inc()
        log.error("message.rejected", reason=reason, bytes=len(delivery.body))
        if self._rejected is None:
            return
        message = aio_pika.Message(
            delivery.body[:LARGEST_MESSAGE],
            headers={"reason": reason, "routing-key": delivery.routing_key or ""},
            content_type=delivery.content_type,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        with suppress(*CONNECTION_EXCEPTIONS, PublishError):  # it is delivered again, or only counted
            await self._rejected.publish(message, routing_key="", timeout=limits.BROKER_ANSWER)

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
