"""RabbitMQ: exchanges and queues, publishing and consuming, on version 3.10 up to 4 (ADR 0012)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aio_pika
import structlog
from aio_pika import DeliveryMode, ExchangeType
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, PublishError
from pamqp.common import Arguments

from shared.messaging.envelope import CONTENT_TYPE, TYPE_PREFIX, Message
from shared.messaging.errors import BrokerUnavailable, MalformedMessage, Unroutable
from shared.messaging.inbox import Inbox

GUEST_HEADER = "guest-id"
CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 3.0
CONFIRM_SECONDS = 30.0
# A worker that dies over and over delivers the same again; beyond this the sweep brings it.
DELIVERY_LIMIT = 1000

EXCHANGE_ARGUMENTS: Arguments = {"hash-header": GUEST_HEADER}
QUEUE_ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-delivery-limit": DELIVERY_LIMIT,
}


@asynccontextmanager
async def open_channel(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel with confirms on a connection of its own. Raises BrokerUnavailable, from the body too."""
    # Not the robust kind: it restores itself behind our back and still raises on publishing into an outage.
    # Who opens this waits and opens it again.
    try:
        connection = await aio_pika.connect(url, timeout=CONNECT_SECONDS)
        try:
            yield await connection.channel(on_return_raises=True)
        finally:
            # What goes wrong with closing must not take the place of why we close: a cancellation, for one.
            with suppress(*CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()
    except CONNECTION_EXCEPTIONS as error:
        raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error


async def declare_events(channel: AbstractChannel, service: str) -> AbstractExchange:
    """The exchange on which a service publishes."""
    return await channel.declare_exchange(f"{service}.events", ExchangeType.TOPIC, durable=True)


async def declare_queues(
    channel: AbstractChannel, *, source: str, consumer: str, queues: int
) -> list[AbstractQueue]:
    """The consumer's queues for the events of `source`; declaring them again changes nothing."""
    guests = await channel.declare_exchange(
        f"{consumer}.guests", ExchangeType.X_CONSISTENT_HASH, durable=True, arguments=EXCHANGE_ARGUMENTS
    )
    declared = []
    for number in range(queues):
        queue = await channel.declare_queue(
            f"{consumer}.guests.{number}", durable=True, arguments=QUEUE_ARGUMENTS
        )
        await queue.bind(guests, routing_key="1")  # the queue's share of the guests, equal for all
        declared.append(queue)
    await guests.bind(await declare_events(channel, source), routing_key="#")
    return declared


@asynccontextmanager
async def publishing(url: str, service: str) -> AsyncIterator["RabbitPublisher"]:
    """A publisher on the exchange of a service. Raises BrokerUnavailable."""
    async with open_channel(url) as channel:
        yield RabbitPublisher(await declare_events(channel, service))


class RabbitPublisher:
    """Publishes persistent messages, confirmed and mandatory: what no queue takes comes back."""

    def __init__(self, exchange: AbstractExchange) -> None:
        self._exchange = exchange

    async def publish(self, message: Message) -> None:
        """Returns when the broker has it on disk in a queue. Raises Unroutable, BrokerUnavailable."""
        try:
            await self._exchange.publish(
                _to_amqp(message),
                routing_key=TYPE_PREFIX + message.type,
                mandatory=True,
                timeout=CONFIRM_SECONDS,
            )
        except PublishError as error:
            raise Unroutable(f"no queue takes {message.type}") from error
        except CONNECTION_EXCEPTIONS as error:
            raise BrokerUnavailable(f"{type(error).__name__}: {error}") from error
        except asyncio.CancelledError:
            # The library cancels what waits for a confirm when the connection goes; nobody cancelled us then.
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            raise BrokerUnavailable("the connection went") from None


def _to_amqp(message: Message) -> aio_pika.Message:
    return aio_pika.Message(
        message.to_json(),
        headers={GUEST_HEADER: str(message.subject)},
        content_type=CONTENT_TYPE,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=str(message.id),
        type=TYPE_PREFIX + message.type,
        timestamp=message.time,
    )


QUEUES = 4
# Unacknowledged per queue, at most: guests of one queue are handled side by side.
PREFETCH = 200
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
LAST_WORK_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Consumer:
    """Consumes a service's queues of the other's events. A message is never given back to its queue.

    Giving back would put it behind later ones of the same guest. The inbox holds what cannot be applied;
    while not even that works (the database is away) the message stays in hand and is tried again.
    """

    def __init__(self, url: str, inbox: Inbox, *, source: str, consumer: str, queues: int = QUEUES) -> None:
        self._url = url
        self._inbox = inbox
        self._source = source
        self._consumer = consumer
        self._queues = queues
        self._in_hand: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Consumes for ever, until cancelled; then what is in hand is finished first."""
        pause = FIRST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            try:
                async with open_channel(self._url) as channel:
                    await self._consume(channel)
            except BrokerUnavailable as error:
                log.warning("consumer.waiting", reason=str(error))
            lasted = asyncio.get_running_loop().time() - began
            pause = FIRST_PAUSE if lasted > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _consume(self, channel: AbstractChannel) -> None:
        await channel.set_qos(prefetch_count=PREFETCH)
        queues = await declare_queues(
            channel, source=self._source, consumer=self._consumer, queues=self._queues
        )
        tags = [(queue, await queue.consume(self._take_in_hand)) for queue in queues]
        log.info("consumer.consuming", queues=[queue.name for queue in queues])
        try:
            await channel.closed()
        finally:
            with suppress(*CONNECTION_EXCEPTIONS):
                async with asyncio.timeout(CLOSE_SECONDS):
                    for queue, tag in tags:
                        await queue.cancel(tag)
            await self._finish()

    async def _take_in_hand(self, delivery: AbstractIncomingMessage) -> None:
        # Started in the order of the queue; the inbox takes one guest's messages in the order of their start.
        task = asyncio.create_task(self._deal_with(delivery))
        self._in_hand.add(task)
        task.add_done_callback(self._in_hand.discard)

    async def _deal_with(self, delivery: AbstractIncomingMessage) -> None:
        await self._receive(delivery.body)
        try:
            await delivery.ack()
        except CONNECTION_EXCEPTIONS as error:
            # It is delivered once more, and dropped as known.
            log.info("message.not_acknowledged", reason=str(error))

    async def _receive(self, body: bytes) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._receive_once(body)
            except Exception as error:
                log.warning("message.not_received", reason=f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _receive_once(self, body: bytes) -> None:
        try:
            message = Message.from_json(body)
        except MalformedMessage as error:
            await self._inbox.receive_unreadable(body, str(error))
        else:
            await self._inbox.receive(message)

    async def _finish(self) -> None:
        """Gives what is in hand some seconds; what is not done by then is delivered again."""
        if not self._in_hand:
            return
        _, late = await asyncio.wait(self._in_hand, timeout=LAST_WORK_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
