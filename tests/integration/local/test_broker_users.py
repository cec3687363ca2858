"""Each service has its own user at the broker, who may do what it needs and nothing else (ADR 0020)."""

import json
from collections.abc import Iterator
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.exceptions import ChannelAccessRefused

from infra.local.rabbitmq import RabbitMQ
from infra.rabbitmq.definitions import definitions
from shared.messaging.errors import BrokerUnavailable
from shared.messaging.rabbitmq import declare_events, declare_queues, declare_rejected, open_channel


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
        found = [await (await channel.get_queue(f"identity.guests.{n}")).get(fail=False) for n in range(2)]
    assert [delivery.body for delivery in found if delivery] == [b"to identity"]


@pytest.mark.parametrize("exchange", ["registration.events", "registration.guests", "registration.rejected", ""])
async def test_no_service_publishes_as_the_other_or_into_a_queue(users: dict[str, str], exchange: str) -> None:
    with pytest.raises((ChannelAccessRefused, BrokerUnavailable), match="ACCESS_REFUSED"):
        async with open_channel(users["identity"]) as channel:
            target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
            await target.publish(aio_pika.Message(b"forged"), "registration.guests.0", timeout=5)


@pytest.mark.parametrize("queue", ["registration.guests.0", "registration.rejected"])
async def test_no_service_reads_empties_or_deletes_the_queues_of_the_other(
    users: dict[str, str], queue: str
) -> None:
    for act in ("get", "purge", "delete", "consume"):
        with pytest.raises((ChannelAccessRefused, BrokerUnavailable), match="ACCESS_REFUSED"):
            async with open_channel(users["identity"]) as channel:
                others = await channel.get_queue(queue, ensure=False)
                await (others.consume(print) if act == "consume" else getattr(others, act)())


async def test_no_service_declares_anything_that_is_not_its_own(users: dict[str, str]) -> None:
    for name in ("registration.guests.7", "identity", "xidentity.guests.0", "identity.guests.0x"):
        with pytest.raises((ChannelAccessRefused, BrokerUnavailable), match="ACCESS_REFUSED"):
            async with open_channel(users["identity"]) as channel:
                await channel.declare_queue(name, durable=True)


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
            with pytest.raises((ChannelAccessRefused, BrokerUnavailable), match="ACCESS_REFUSED"):
                await channel.declare_queue("theirs")
