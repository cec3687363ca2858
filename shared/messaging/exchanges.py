"""What the services declare at RabbitMQ: exchanges, queues and bindings, on 3.10 up to 4 (ADR 0013)."""

from collections.abc import Collection, Mapping
from functools import partial

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange, AbstractQueue
from aio_pika.exceptions import ChannelClosed, ChannelNotFoundEntity
from pamqp.common import Arguments

from shared.messaging.broker_connection import Asking

SUBJECT_HEADER = "guest-id"
DELIVERY_LIMIT = 1000
"""A worker that dies again and again gets the same message again; after this the feed poller brings it."""

LARGEST_MESSAGE = 256 * 1024
"""In bytes; ours have some thousands. The brokers of this repository take no larger one (`max_message_size`).
Of one from another broker, only so much is kept."""

MOST_REJECTED = 10_000
"""Rejected messages that are kept for an operator; the oldest are dropped first."""

QUEUES = 4
"""The queues of one service for the other's events."""

QUEUE_ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-delivery-limit": DELIVERY_LIMIT,
}


def exchanges_of(service: str) -> Mapping[str, tuple[ExchangeType, Arguments]]:
    """Return the exchanges that a service declares: for its events, for its queues, for what it rejects."""
    return {
        f"{service}.events": (ExchangeType.TOPIC, None),
        f"{service}.guests": (ExchangeType.X_CONSISTENT_HASH, {"hash-header": SUBJECT_HEADER}),
        f"{service}.rejected": (ExchangeType.FANOUT, None),
    }


def queues_for(service: str) -> Mapping[str, Arguments]:
    """Return the queues that a service declares: for the other's events, and one for what it rejects."""
    return dict.fromkeys(shares_of(service), QUEUE_ARGUMENTS) | {
        f"{service}.rejected": {"x-queue-type": "quorum", "x-max-length": MOST_REJECTED}
    }


def shares_of(service: str) -> Collection[str]:
    """Return the names of the queues that share out the other service's events."""
    return [f"{service}.guests.{number}" for number in range(QUEUES)]


async def declare_exchange(channel: AbstractChannel, service: str, name: str) -> AbstractExchange:
    """Declare one of a service's exchanges; declaring it again changes nothing."""
    kind, arguments = exchanges_of(service)[name]
    return await channel.declare_exchange(name, kind, durable=True, arguments=arguments)


async def declare_queue(channel: AbstractChannel, service: str, name: str) -> AbstractQueue:
    """Declare one of a service's queues; declaring it again changes nothing."""
    return await channel.declare_queue(name, durable=True, arguments=queues_for(service)[name])


async def declare_events(channel: AbstractChannel, service: str) -> AbstractExchange:
    """Declare the exchange on which a service publishes."""
    return await declare_exchange(channel, service, f"{service}.events")


async def declare_rejected(channel: AbstractChannel, consumer: str) -> AbstractExchange:
    """Declare the exchange and the bounded queue for messages that are not authentic."""
    exchange = await declare_exchange(channel, consumer, f"{consumer}.rejected")
    queue = await declare_queue(channel, consumer, f"{consumer}.rejected")
    await queue.bind(exchange)
    return exchange


async def declare_subjects(channel: AbstractChannel, consumer: str) -> AbstractExchange:
    """Declare the exchange that gives each subject's messages to one of the consumer's queues."""
    return await declare_exchange(channel, consumer, f"{consumer}.guests")


async def declare_share(channel: AbstractChannel, consumer: str, name: str) -> AbstractQueue:
    """Declare one of the consumer's queues, with an equal share of the subjects."""
    queue = await declare_queue(channel, consumer, name)
    await queue.bind(f"{consumer}.guests", routing_key="1")
    return queue


async def follow(channel: AbstractChannel, *, source: str, consumer: str) -> None:
    """Let the events of `source` come to the consumer's exchange.

    The exchange of `source` belongs to the other service, whose relay declares it: the user of this service
    may read it and not configure it.
    """
    events = await channel.get_exchange(f"{source}.events", ensure=True)
    subjects = await channel.get_exchange(f"{consumer}.guests", ensure=False)
    await subjects.bind(events, routing_key="#")


async def differences(connection: AbstractConnection, service: str) -> tuple[list[str], list[str]]:
    """Return which of a service's exchanges and queues are missing, and what was declared otherwise.

    Nothing is changed: what exists is declared again, which only compares. The broker names the argument.
    """
    missing, otherwise = [], []
    exchanges = [("exchange", name) for name in exchanges_of(service)]
    async with Asking(connection) as asking:
        for kind, name in [*exchanges, *(("queue", name) for name in queues_for(service))]:
            try:
                if kind == "exchange":
                    await asking.ask(partial(_compare_exchange, service=service, name=name))
                else:
                    await asking.ask(partial(_compare_queue, service=service, name=name))
            except ChannelNotFoundEntity:
                missing.append(f"{kind} {name}")
            except ChannelClosed as error:
                otherwise.append(f"{kind} {name}: {error}")
    return missing, otherwise


async def _compare_exchange(channel: AbstractChannel, service: str, name: str) -> None:
    await channel.get_exchange(name, ensure=True)
    await declare_exchange(channel, service, name)


async def _compare_queue(channel: AbstractChannel, service: str, name: str) -> None:
    await channel.declare_queue(name, passive=True)
    await declare_queue(channel, service, name)
