"""RabbitMQ: exchanges and queues, publishing and consuming, on version 3.10 up to 4 (A4).

Topic exchange `<service>.events` -> consistent-hash exchange `<consumer>.guests` -> quorum queues
`<consumer>.guests.0` … with a single active consumer each. The hash is over the header `guest-id`, so that a
guest's messages are all in one queue, whatever their type.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import aio_pika
from aio_pika import DeliveryMode, ExchangeType
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, PublishError
from pamqp.common import Arguments

from shared.messaging.envelope import CONTENT_TYPE, TYPE_PREFIX, Message
from shared.messaging.errors import BrokerUnavailable, Unroutable

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
