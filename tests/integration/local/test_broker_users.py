"""Each service has its own user at the broker, who may do what it needs and nothing else (ADR 0020)."""

import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel

from infra.local.rabbitmq import RabbitMQ
from infra.rabbitmq.definitions import definitions
from shared.messaging.errors import BrokerUnavailable
from shared.messaging.exchanges import declare_events, declare_rejected
from tests.support.messaging import declare_queues, open_channel


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """A virtual host of its own."""
    name = f"users-{uuid4().hex[:8]}"
    rabbitmq.create_vhost(name)
    yield name
    rabbitmq.delete_vhost(name)


@pytest.fixture
async def users(rabbitmq: RabbitMQ, vhost: str) -> dict[str, str]:
    """The URL of each service's user; both have declared what is theirs."""
    urls = {service: rabbitmq.create_service_user(service, vhost) for service in ("registration", "identity")}
    for service, url in urls.items():
        async with open_channel(url) as channel:
            await declare_events(channel, service)
            await declare_rejected(channel, service)
    for source, consumer in (("registration", "identity"), ("identity", "registration")):
        async with open_channel(urls[consumer]) as channel:
            await declare_queues(channel, source=source, consumer=consumer, queues=2)
    return urls


async def test_each_service_publishes_what_the_other_receives(users: dict[str, str]) -> None:
    async with open_channel(users["registration"]) as channel:
        exchange = await channel.get_exchange("registration.events")
        await exchange.publish(aio_pika.Message(b"to identity", headers={"guest-id": "1"}), "a.type")
    async with open_channel(users["identity"]) as channel:
        queues = await declare_queues(channel, source="registration", consumer="identity", queues=2)
        assert sum(queue.declaration_result.message_count or 0 for queue in queues) == 1


Act = Callable[[AbstractChannel], Awaitable[Any]]


async def publish(channel: AbstractChannel, exchange: str) -> None:
    """Publish on this exchange; the empty name is the default exchange, which leads into any queue."""
    target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
    await target.publish(aio_pika.Message(b"forged"), "registration.guests.0", timeout=5)


async def declare(channel: AbstractChannel, name: str) -> None:
    """Declare a queue of this name."""
    await channel.declare_queue(name, durable=True)


async def in_channel(url: str, act: Act) -> None:
    """Do something as this user."""
    async with open_channel(url) as channel:
        await act(channel)


async def is_refused(url: str, act: Act) -> bool:
    """Whether the broker closes the channel of this user because it may not do that."""
    with pytest.raises(BrokerUnavailable, match="ACCESS_REFUSED"):
        await in_channel(url, act)
    return True


@pytest.mark.parametrize(
    "exchange", ["registration.events", "registration.guests", "registration.rejected", ""]
)
async def test_no_service_publishes_as_the_other_or_into_a_queue(
    users: dict[str, str], exchange: str
) -> None:
    assert await is_refused(users["identity"], partial(publish, exchange=exchange))


@pytest.mark.parametrize("queue", ["registration.guests.0", "registration.rejected"])
async def test_no_service_reads_empties_or_deletes_the_queues_of_the_other(
    users: dict[str, str], queue: str
) -> None:
    async def act_on(channel: AbstractChannel, act: str) -> None:
        others = await channel.get_queue(queue, ensure=False)
        await getattr(others, act)()

    for act in ("get", "purge", "delete"):
        assert await is_refused(users["identity"], partial(act_on, act=act))


async def test_no_service_declares_anything_that_is_not_its_own(users: dict[str, str]) -> None:
    for name in ("registration.guests.7", "identity", "xidentity.guests.0", "identity.guests.0x"):
        assert await is_refused(users["identity"], partial(declare, name=name))


async def test_the_definitions_for_the_containers_make_the_same_users(rabbitmq: RabbitMQ, vhost: str) -> None:
    passwords = {"registration": uuid4().hex, "identity": uuid4().hex}
    made = definitions(passwords)
    made["vhosts"] = [{"name": vhost}]
    for permission in made["permissions"]:
        permission["vhost"] = vhost
    text = json.dumps(json.dumps(made))  # as an Erlang string
    rabbitmq.evaluate(f"ok = rabbit_definitions:import_raw(list_to_binary({text}))")
    for service, password in passwords.items():
        url = f"amqp://{service}:{password}@127.0.0.1:{rabbitmq.port}/{vhost}"
        async with open_channel(url) as channel:
            await declare_events(channel, service)
        assert await is_refused(url, partial(declare, name="theirs"))
